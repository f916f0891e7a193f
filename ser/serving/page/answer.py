"""The bytes of a recording → what the server sends back: what ``ser predict --json`` prints, and on request the timeline and a picture."""

from __future__ import annotations

import functools
import io

from ser.serving.page.picture import picture
from ser.serving.page.question import Question
from ser.serving.predict import Predictor
from ser.serving.prediction import as_document, as_entry
from ser.serving.timeline.moments import WINDOW, timeline
from ser.serving.timeline.text import as_entry as timeline_entry
from ser.signal.audio import AudioError

Json = dict[str, object]

STATUS = {"unreadable": 415, "too_long": 413}
"""Reasons of ``AudioError`` → status of HTTP; all others are 422: a recording that was read and cannot be judged."""


def answer(predictor: Predictor, question: Question, data: bytes) -> tuple[int, Json]:
    """Status and body of the response.

    Args:
        predictor: the model, with its limit in minutes.
        question: what is asked.
        data: the recording, as its file has it.

    Raises:
        MemoryError: if it takes more memory than there is.
    """
    opening = functools.partial(io.BytesIO, data)
    window = max(WINDOW, predictor.bundle.preprocess.min_seconds)
    try:
        found = as_document(predictor.bundle, [as_entry(predictor.recording(question.name, opening))])
        if question.timeline:
            found["timeline"] = timeline_entry(timeline(predictor, question.name, opening(), window))
        if question.picture:
            found["picture"] = picture(predictor, opening())
    except AudioError as error:
        if isinstance(error.__context__, MemoryError):  # the decoder calls a recording damaged for which there is no memory
            raise MemoryError from None
        return STATUS.get(error.reason, 422), {"reason": error.reason, "problem": str(error)}
    return 200, found
