"""The description of the server for programs, OpenAPI 3.1."""

from __future__ import annotations

from ser import __version__
from ser.serving.bundle import Bundle
from ser.serving.page.limits import Limits

Json = dict[str, object]

ERRORS = {
    "400": "No body, or a length that is not a number",
    "401": "Without the token, where the server has one",
    "403": "Asked by the page of another site, or by a name that is not this machine's",
    "408": "The recording did not arrive in time",
    "413": "More bytes or minutes than are read",
    "415": "A form, a compressed body, or bytes in which no recording is recognised",
    "422": "A recording that cannot be judged: silent, clipped, too short, damaged",
    "500": "An error in the server",
    "503": "Too many recordings are waiting, see Retry-After; or the model is no longer that of the page",
    "504": "Judging took too long",
}


def description(bundle: Bundle, limits: Limits, token: bool) -> Json:
    """The document at ``/openapi.json``.

    Args:
        bundle: the model.
        limits: of requests.
        token: whether a client has to send one.
    """
    said = limits.said()
    shares: Json = {"type": "object", "properties": {name: _number(0, 1) for name in bundle.classes}}
    responses: Json = {number: _response(words, "#/components/schemas/Problem") for number, words in ERRORS.items()}
    responses["200"] = _response("What `ser predict --json` prints for this recording", "#/components/schemas/Answer")
    predict: Json = {
        "operationId": "predict",
        "summary": "The emotion of a recording",
        "description": f"{said[0].upper()}{said[1:]}. The recording is judged in memory and not kept.",
        "parameters": [
            _query("timeline", "1: emotion over time as well"),
            _query("picture", "1: waveform and log-mel as well, as the page draws them"),
            _query("name", "Name of the recording, which comes back as its path"),
        ],
        "requestBody": {
            "required": True,
            "description": "The bytes of the recording: wav, flac, ogg, opus, mp3, aiff; with ser[media] m4a, aac, mp4, webm, amr",
            "content": {"application/octet-stream": {}, "audio/*": {}},
        },
        "responses": dict(sorted(responses.items())),
    }
    page = {"summary": "The page", "responses": {"200": {"description": "HTML", "content": {"text/html": {}}}}}
    components: Json = {"schemas": _schemas(shares)}
    document: Json = {
        "openapi": "3.1.0",
        "info": {"title": "ser serve", "version": __version__, "description": f"Emotion in speech, model {bundle.corpus}"},
        "paths": {"/": {"get": page}, "/predict": {"post": predict}},
        "components": components,
    }
    if token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _schemas(shares: Json) -> Json:
    text: Json = {"type": "string"}
    prediction = _object(
        path=text,
        emotion=text,
        probabilities=shares,
        seconds=_number(0),
        speech_seconds=_number(0),
        no_speech={"type": "boolean"},
        problem={"type": "null"},
        warnings={"type": "array", "items": text},
    )
    span: Json = {"type": "array", "items": _number(0), "minItems": 2, "maxItems": 2}
    stretch = _object(start=_number(0), end=_number(0), emotion=text, probability=_number(0, 1))
    moment = _object(start=_number(0), end=_number(0), emotion={"type": ["string", "null"]}, probabilities=shares)
    timeline = _object(
        path=text,
        seconds=_number(0),
        window=_number(0),
        hop=_number(0),
        smooth=_number(0),
        classes={"type": "array", "items": text},
        speech={"type": "array", "items": span},
        stretches={"type": "array", "items": stretch},
        moments={"type": "array", "items": moment},
    )
    levels: Json = {"type": "array", "items": _number(-1, 1)}
    looked: Json = {"type": "object", "additionalProperties": {"type": "array", "items": _number(0)}}
    log_mel = _object(bands={"type": "integer"}, columns={"type": "integer"}, values={"type": "string", "contentEncoding": "base64"})
    answer = _object(
        bundle=_object(corpus=text, notice=text, protocol=text, normalise=text), predictions={"type": "array", "items": prediction}
    )
    more = {"timeline": timeline, "picture": _object(seconds=_number(0), low=levels, high=levels, log_mel=log_mel, attention=looked)}
    return {"Answer": {**answer, "properties": {**_properties(answer), **more}}, "Problem": _object(reason=text, problem=text)}


def _object(**properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _properties(schema: Json) -> Json:
    properties = schema["properties"]
    assert isinstance(properties, dict)
    return properties


def _number(low: float | None = None, high: float | None = None) -> Json:
    bounds = {"minimum": low, "maximum": high}
    return {"type": "number", **{name: value for name, value in bounds.items() if value is not None}}


def _query(name: str, words: str) -> Json:
    return {"name": name, "in": "query", "required": False, "description": words, "schema": {"type": "string"}}


def _response(words: str, schema: str) -> Json:
    return {"description": words, "content": {"application/json": {"schema": {"$ref": schema}}}}
