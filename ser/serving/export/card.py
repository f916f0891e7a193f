"""The model card: what a bundle is, what it is for, and what it is not (after Mitchell et al. 2019, arXiv 1810.03993)."""

from __future__ import annotations

from ser.corpora.catalogue import catalogue
from ser.corpora.description import Description
from ser.corpora.listing import describe
from ser.params.corpora import Folder, Joint, Source
from ser.runtime.text import percent
from ser.serving.bundle import ENCODER, MODEL, Bundle
from ser.views.functionals import SETS


def licence(corpus: str, source: Source) -> str:
    """Terms of the recordings that the networks learned from, as the description of each corpus states them."""
    if isinstance(source, Folder):
        return "the user's own recordings"
    if isinstance(source, Joint):
        return "; ".join(f"{member}: {_terms_of(catalogue().get(member))}" for member in source.members)
    return _terms_of(describe(corpus, source))


def _terms_of(described: Description | None) -> str:
    return "see the corpus" if described is None else described.licence


def card(bundle: Bundle, parameters: int) -> str:
    """The card as Markdown.

    Args:
        bundle: the facts.
        parameters: weights of one network or regression; 0 where there is none.
    """
    notice = f"> **{bundle.notice}**\n\n" if bundle.notice else ""
    return (
        f"# Speech emotion recognition: {bundle.corpus}\n\n{notice}{_what(bundle, parameters)}\n\n## Score\n\n{_score(bundle)}\n\n"
        f"{_encoder(bundle)}{_use(bundle)}"
        f"## Intended use and limits\n\n{_limits(bundle)}\n\n## Data\n\nLearned from: {bundle.corpus}; {bundle.licence}."
        f"{f' Edition: {bundle.edition}.' if bundle.edition else ''}\n"
    )


def _what(bundle: Bundle, parameters: int) -> str:
    if not bundle.networks:
        learned = "statistics of log-mel and MFCC"
        if bundle.features.functionals is not None:
            name, count = SETS[bundle.features.functionals]
            learned = f"the {count:,} functionals of openSMILE's {name}"
        if bundle.features.normalise == "speaker":
            learned += " (normalised by each speaker's own recordings)"
        apart = f"tells {', '.join(bundle.classes)} apart"
        if bundle.not_exported.startswith("model.kind svm"):
            return f"An SVM on {learned} {apart}. It is a baseline and is not exported.{_terms(bundle)}"
        return f"A model that {apart}. It is not exported: {bundle.not_exported}."
    classes = f"Classes: {', '.join(bundle.classes)}."
    if bundle.made == "refit":
        return (
            f"One logistic regression of {parameters:,} parameters at most, fitted on all clips of the corpus. It reads mean and standard "
            f"deviation over time of the encoder's hidden states. {classes}"
        )
    if bundle.kind == "linear":
        return (
            f"{len(bundle.networks)} logistic regression(s) of {parameters:,} parameters at most, one for each fold and seed, whose "
            f"probabilities are averaged. Each reads mean and standard deviation over time of the encoder's hidden states. {classes}"
        )
    beside = " and the encoder's hidden states" if bundle.encoder else ""
    return (
        f"{len(bundle.networks)} network(s) of {parameters:,} parameters, one for each fold and seed, whose probabilities are averaged. "
        f"Each joins its branches over log-mel and MFCC frames{beside}. {classes}"
    )


def _encoder(bundle: Bundle) -> str:
    """What the pretrained encoder is and may be used for; empty where there is none."""
    facts = bundle.encoder
    if facts is None:
        return ""
    layers = ", ".join(map(str, facts.layers))
    use = {"yes": "allows commercial use", "no": "allows no commercial use", "unclear": "leaves commercial use unclear"}[facts.commercial]
    apart = ""
    if facts.parity is not None:
        apart = f" On {facts.parity.clips} clips this moves no probability by more than {facts.parity.probabilities:.1g}."
    return (
        f"## Encoder\n\n`{ENCODER}` is the encoder of {facts.name} up to hidden state {facts.layers[-1]}, pretrained by others and not "
        f"trained further (sha256 of its weights: `{facts.weights_sha256}`). Hidden states that are read: {layers}. Its weights are stored "
        f"in {facts.precision}.{apart}\n\nIts licence: {facts.licence}. Its licence {use}. Models trained on the recordings under "
        "*Data* are also bound by the licence of those recordings; the stricter of the two licences applies.\n\n"
    )


def _score(bundle: Bundle) -> str:
    score = bundle.score
    if score is None:
        return "Not evaluated."
    interval = ""
    if score.ua_interval:
        low, high = score.ua_interval
        interval = f" ({percent(score.confidence, 0)}% interval by speaker {percent(low)}% to {percent(high)}%)"
    sharing = "no test speaker was heard in training" if bundle.speaker_independent else "**test speakers were heard in training**"
    return (
        f"UA {percent(score.ua)}%{interval}, WA {percent(score.wa)}%, macro-F1 {percent(score.macro_f1)}% on {score.clips:,} clips, each "
        f"judged by a network that did not train on it; chance is {percent(score.chance_ua)}%. Protocol: {bundle.protocol}; {sharing}."
        f"{_whose(bundle)}"
    )


def _whose(bundle: Bundle) -> str:
    """What the score measures, where that is not the model in the bundle."""
    if bundle.made != "refit":
        return ""
    return (
        "\n\n**The score is that of the regressions of cross-validation.** The one in this bundle was fitted in the same way, on all "
        "clips, so no clip is left to score it on. Its training included every speaker of the corpus: it does better on the corpus' own "
        "recordings than on new ones. It reads the layers that at least half of the folds chose."
    )


def _terms(bundle: Bundle) -> str:
    """What openSMILE's licence asks for; empty where it was not used."""
    if bundle.features.functionals is None:
        return ""
    return (
        " openSMILE's licence (audEERING Research License Agreement) allows research and other non-commercial use only, and applies "
        "to models trained on its features too."
    )


def _use(bundle: Bundle) -> str:
    if not bundle.networks:
        return ""
    return f"## Use\n\n```\nser predict recording.wav --bundle exports/{bundle.corpus}\n```\n\n{_input(bundle)}\n\n"


def _input(bundle: Bundle) -> str:
    vad, rate = bundle.preprocess.vad, bundle.preprocess.sample_rate
    normalise = {
        "corpus": "as the training clips were",
        "speaker": "by all recordings given at once, which are taken as one speaker's",
        "clip": "each recording by itself",
    }[bundle.features.normalise]
    formats = (
        f"WAV, FLAC, OGG, Opus, MP3 or AIFF of any rate and channels; mono, {rate} Hz, voice activity detection {vad.method} ({vad.keep})"
    )
    if bundle.kind == "linear":
        return f"{formats}. `{MODEL}` takes what `bundle.json` says; the regressions hold their own standardisation."
    seconds = bundle.max_frames * bundle.features.frames.hop_length / rate
    return (
        f"{formats}; features are normalised {normalise}. Recordings longer than {seconds:.1f} s are cut into equal windows whose "
        f"probabilities are averaged. `{MODEL}` takes the features of `bundle.json`; the networks hold their own normalisation."
    )


def _limits(bundle: Bundle) -> str:
    if bundle.notice:
        return (
            "For trying out the laboratory only: the voices are synthetic and the emotions follow rules. It knows nothing about "
            "people and must not be used on them."
        )
    losses = [f"{name} {percent(ua)}%" for name, ua in bundle.worse.items() if name != "clean"]
    clean = f" Of UA {percent(bundle.worse['clean'])}% on some clips," if losses else ""
    worse = f"{clean} this much is left under worse conditions: {', '.join(losses)}." if losses else ""
    return (
        "For research on how emotion is *expressed* in recordings like those it learned from: mostly acted, short, clean, in one language. "
        f"On other speakers, languages, microphones or spontaneous speech the score above does not hold.{worse} It does not know what a "
        "person feels; do not use it to judge people, for instance in hiring, schooling, policing, insurance or health."
    )
