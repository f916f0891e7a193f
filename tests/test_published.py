"""The scores in README and docs are those of the files that the runs wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ser.runtime.text import percent

ROOT = Path(__file__).resolve().parents[1]
ROWS = [
    ("README.md", "corpora/ravdess", "| network of `params.yaml`, one seed |"),
    ("README.md", "published/ravdess-linear", "| logistic regression on frozen Whisper tiny.en, layers 1–3 |"),
    ("README.md", "published/ravdess-pretrained", "| co-attention of CNNs and the same frozen Whisper, one seed |"),
    ("README.md", "published/ravdess-linear-speaker", "| regression on Whisper tiny.en, features normalised by speaker |"),
    ("docs/results.md", "corpora/ravdess", "| network of `params.yaml` | official: 6 published folds"),
    ("docs/results.md", "published/ravdess-clean", "| preset `clean`: the same network without spoilt copies |"),
    ("docs/results.md", "published/ravdess-pupil", "| preset `pupil`: the network of `params.yaml`, taught"),
    ("docs/results.md", "corpora/demo", "| `demo`, 6 classes, 8 voices"),
    ("docs/results.md", "published/ravdess-linear", "| logistic regression on frozen Whisper tiny.en, layers 1–3 |"),
    ("docs/results.md", "published/ravdess-linear", "| `linear`: regression on tiny.en |"),
    ("docs/results.md", "published/ravdess-linear-robust", "| the same regression, fitted on spoilt copies too: the model that travels |"),
    ("README.md", "published/ravdess-linear-robust", "| the same, fitted on spoilt copies too |"),
    ("docs/results.md", "published/ravdess-linear-base", "| `linear-base`: regression on whisper-base |"),
    ("docs/results.md", "published/ravdess-linear-speaker", "| `linear` with `features.normalise=speaker` |"),
    ("docs/results.md", "published/ravdess-linear-base-speaker", "| `linear-base` with `features.normalise=speaker` |"),
    ("docs/results.md", "published/ravdess-pretrained", "| CNNs ∥ frozen Whisper tiny.en, co-attention, one seed |"),
    ("docs/results.md", "published/ravdess-pretrained", "| `pretrained`: CNNs ∥ tiny.en, co-attention, one seed |"),
    ("docs/results.md", "published/ravdess-two-folds-linear", "| `linear` and `pretrained` |"),
    ("docs/results.md", "published/ravdess-two-folds-encoder_only", "| `encoder_only` |"),
    ("docs/results.md", "published/ravdess-two-folds-network", "| the same, mean of the three seeds |"),
    ("docs/fusion.md", "published/ravdess-scratch-coattention", "| `parallel_coattention` with tiny.en |"),
    ("docs/fusion.md", "published/ravdess-scratch-sum", "| `sum` with tiny.en |"),
    ("docs/fusion.md", "published/ravdess-scratch-concat", "| `concat` with tiny.en |"),
    ("docs/reproduced.md", "published/ravdess-zenkov-random", "| `zenkov`, RAVDESS, 500 epochs |"),
]
"""Page, file below metrics/, and how the row begins."""
ADAPTED = [
    ("corpora/ravdess", "| network of `params.yaml` | official folds, answers speaker-adapted |"),
    ("published/ravdess-clean", "| preset `clean` | official folds, answers speaker-adapted |"),
    ("published/ravdess-pupil", "| preset `pupil` | official folds, answers speaker-adapted |"),
    ("published/ravdess-linear", "| `linear`: regression on tiny.en |"),
    ("published/ravdess-linear-base", "| `linear-base`: regression on whisper-base |"),
    ("published/ravdess-pretrained", "| `pretrained`: CNNs ∥ tiny.en, co-attention, one seed |"),
]
"""Rows of docs/results.md with speaker-adapted answers."""
NOISE = [
    ("published/ravdess-linear", 1),
    ("published/ravdess-linear-robust", 2),
    ("published/ravdess-pretrained", 4),
    ("published/ravdess-clean", 5),
]
"""Columns of its table of bad sound."""


def row(page: str, start: str) -> str:
    found = [line for line in (ROOT / page).read_text(encoding="utf-8").splitlines() if line.startswith(start)]
    assert len(found) == 1, f"{page}: {len(found)} rows begin with {start}"
    return found[0].replace("**", "")


def metrics(name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((ROOT / f"metrics/{name}.json").read_text(encoding="utf-8"))
    return values


def shown(values: dict[str, Any], score: str) -> str:
    low, high = values["ci"][score]
    return f"| {percent(values[score])} [{percent(low)}, {percent(high)}] |"


@pytest.mark.parametrize(("page", "name", "start"), ROWS)
def test_a_score_is_the_one_that_the_run_wrote(page: str, name: str, start: str) -> None:
    line, values = row(page, start), metrics(name)
    assert shown(values, "ua") in line
    assert shown(values, "wa") in line


def test_the_ensemble_is_the_one_that_the_run_wrote() -> None:
    line, values = (
        row("docs/results.md", "| networks of the preset `clean`, ensemble of three seeds |"),
        metrics("published/ravdess-two-folds-network"),
    )
    assert shown(values["seeds"]["ensemble"], "ua") in line
    assert shown(values["seeds"]["ensemble"], "wa") in line


def test_seeds_ensemble_and_noisy_copies_of_a_published_system_are_those_of_the_run() -> None:
    values = metrics("published/ravdess-zenkov-random")
    assert f"| {', '.join(percent(one['wa']) for one in values['seeds']['each'])} |" in row("docs/reproduced.md", "| `zenkov`, RAVDESS")
    text = " ".join((ROOT / "docs/reproduced.md").read_text(encoding="utf-8").split())
    assert f"has {shown(values['seeds']['ensemble'], 'wa').strip('| ')}." in text
    his = [one for one in values["robustness"]["conditions"] if one["kind"] in ("clean", "noise")]
    wa, ua = (percent(sum(one[score] for one in his) / len(his)) for score in ("wa", "ua"))
    assert f"has WA {wa} and UA {ua}." in text


@pytest.mark.parametrize(("name", "start"), ADAPTED)
def test_a_speaker_adapted_score_is_the_one_that_the_run_wrote(name: str, start: str) -> None:
    assert shown(metrics(name)["knowing_speakers"], "ua") in row("docs/results.md", start)


@pytest.mark.parametrize(("name", "column"), NOISE)
def test_what_bad_sound_costs_is_what_the_run_wrote(name: str, column: int) -> None:
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    table = (
        text.split("**What does bad sound cost?")[1].split("|---|---|---|---|---|---|\n")[1].split("\n\n")[0].replace("**", "").splitlines()
    )
    found = [cell for line in table if (cell := line.split("|")[column + 1].strip())]  # empty: not measured
    assert found == [percent(one["ua"]) for one in metrics(name)["robustness"]["conditions"]]


def test_what_bad_sound_costs_the_network_is_what_the_runs_wrote() -> None:
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    table = text.split("| | `clean`: UA | lost | `params.yaml`: UA | lost |\n|---|---|---|---|---|\n")[1].split("\n\n")[0].replace("**", "")
    runs = [metrics(name)["robustness"]["conditions"] for name in ("published/ravdess-clean", "corpora/ravdess")]
    for line, *each in zip(table.splitlines(), *runs, strict=True):
        cells = [cell.strip() for cell in line.split("|")[2:6]]
        for (ua, lost), one in zip((cells[:2], cells[2:]), each, strict=True):
            low, high = (percent(limit).replace("-", "−") for limit in one["lost_ci"])
            shown_loss = f"{percent(one['lost'])} ({low} … {high})".replace("-", "−")
            assert (ua, lost) == (percent(one["ua"]), "" if one["condition"] == "clean" else shown_loss)


def test_what_bad_sound_costs_the_pupil_is_what_the_run_wrote() -> None:
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    lines = text.split("| `pupil` | UA | lost |\n|---|---|---|\n")[1].split("\n\n")[0].splitlines()
    for line, one in zip(lines, metrics("published/ravdess-pupil")["robustness"]["conditions"], strict=True):
        low, high = (percent(limit) for limit in one["lost_ci"] or (0.0, 0.0))
        lost = "" if one["condition"] == "clean" else f"{percent(one['lost'])} ({low} … {high})".replace("-", "−")
        assert [cell.strip() for cell in line.split("|")[2:4]] == [percent(one["ua"]), lost]


def test_what_copies_leave_of_the_loss_is_what_the_run_wrote() -> None:
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    table = text.split("**What does bad sound cost?")[1].split("|---|---|---|---|---|---|\n")[1].split("\n\n")[0].splitlines()[1:]
    conditions = metrics("published/ravdess-linear-robust")["robustness"]["conditions"][1:]
    for line, one in zip(table, conditions, strict=True):
        low, high = (percent(limit).replace("-", "−") for limit in one["lost_ci"])
        assert line.split("|")[4].strip() == f"{percent(one['lost'])} ({low} … {high})"


@pytest.mark.parametrize(("corpus", "start"), [("ravdess", "| RAVDESS, "), ("demo", "| demo, ")])
def test_what_temperatures_do_is_what_the_run_wrote(corpus: str, start: str) -> None:
    calibration = metrics(f"corpora/{corpus}")["calibration"]
    each = [one["temperature"] for one in calibration["temperatures"]]
    for when, after in (("probabilities of the networks", "before"), (f"with temperatures ({min(each):.2f} … {max(each):.2f})", "after")):
        found = [float(cell) for cell in row("docs/results.md", f"{start}{when} |").split("|")[2:5]]
        assert found == pytest.approx([calibration[after][name] for name in ("log_loss", "brier", "ece")], abs=0.00051)


def test_the_demo_in_readme_is_the_committed_one() -> None:
    values = metrics("corpora/demo")
    low, high = values["ci"]["ua"]
    line = f"UA {percent(values['ua'])}% [{percent(low)}%, {percent(high)}%], WA {percent(values['wa'])}%"
    assert line in (ROOT / "README.md").read_text(encoding="utf-8")
