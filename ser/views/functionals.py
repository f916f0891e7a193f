"""openSMILE's functionals: statistics of pitch, loudness, voice quality and spectrum, one vector per clip.

With an SVM they are the baseline of most papers on speech emotion recognition. ``egemaps`` is eGeMAPSv02, 88
values chosen by experts (Eyben et al. 2016, IEEE Trans. Affective Computing 7(2)). ``compare`` is
ComParE_2016, 6,373 values made by brute force (Schuller et al. 2016, Interspeech).

audEERING's package ``opensmile`` computes them. It is optional, because its licence allows research and other
non-commercial use only, also of models trained on its features. So nothing that is exported depends on it.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ser import SerError
from ser.params.features import FunctionalSet

SETS: dict[FunctionalSet, tuple[str, int]] = {"egemaps": ("eGeMAPSv02", 88), "compare": ("ComParE_2016", 6373)}
"""openSMILE's name of each set, and how many functionals it has."""

SHORTEST = 0.06
"""Seconds of openSMILE's longest frame. A shorter clip is padded with silence to this length."""


def functionals(signal: np.ndarray, sample_rate: int, chosen: FunctionalSet) -> np.ndarray:
    """The functionals of one clip, float32 (n,), always finite.

    Args:
        signal: mono float in [−1, 1), shape (samples,); openSMILE reads it in int16 steps.
        sample_rate: in Hz.
        chosen: the set, a key of ``SETS``.

    Raises:
        SerError: when openSMILE is not installed, or returns values that are not finite.
    """
    short = round(SHORTEST * sample_rate) - len(signal)
    filled = np.pad(signal, (0, max(0, short))).astype(np.float32)
    values: np.ndarray = load(chosen)(filled, sample_rate).reshape(-1).astype(np.float32)
    if not np.isfinite(values).all():
        raise SerError(f"openSMILE's {SETS[chosen][0]} of a clip of {len(signal) / sample_rate:.3f} s holds numbers that are not finite")
    return values


@functools.lru_cache(maxsize=len(SETS))
def load(chosen: FunctionalSet) -> Any:
    """The extractor of a set, a function (signal, sample rate) → functionals.

    Raises:
        SerError: when openSMILE is not installed, or its version has other functionals.
    """
    name, count = SETS[chosen]
    try:
        import opensmile  # slow to import, so only on demand
    except (ImportError, OSError) as error:  # OSError: its library was built for another system
        raise SerError(
            f"features.functionals {chosen} needs openSMILE, an optional package that cannot be used here ({error}). Its licence allows "
            "research and other non-commercial use only; if that suits you: pip install -e '.[opensmile]', in the root of the repository. "
            "Else set features.functionals to null (to evaluate a model that has learned from them: evaluate.robustness.max_clips to 0)"
        ) from None
    smile = opensmile.Smile(feature_set=opensmile.FeatureSet[name], feature_level=opensmile.FeatureLevel.Functionals)
    if smile.num_features != count:
        raise SerError(f"the installed openSMILE has {smile.num_features} functionals in {name}, not {count}: pip install 'opensmile>=2.5'")
    return smile
