"""Tables that the report draws: a damaged one, or one with the marks of a merge, is named and not drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from ser.evaluation import tables
from ser.report import plots
from ser.runtime.reading import DamagedError

PLOTS = Path(__file__).resolve().parents[2] / "metrics/plots"


@pytest.mark.parametrize("corpus", ["demo", "ravdess"])
@pytest.mark.parametrize("name", ["loss", "reliability"])
def test_committed_tables_are_read(corpus, name):
    assert len(tables.read(PLOTS / corpus / f"{name}.csv", corpus)) > 1


def conflict(lines: list[str]) -> list[str]:
    return [lines[0], "<<<<<<< HEAD", lines[1], "=======", lines[2], ">>>>>>> other", *lines[3:]]


@pytest.mark.parametrize("name", ["loss", "reliability"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: [],
        lambda lines: lines[1:],
        lambda lines: [lines[0].replace("valid_ua,", "x,").replace("accuracy", "x"), *lines[1:]],
        lambda lines: [lines[0].replace("epoch", "x").replace("confidence", "x"), *lines[1:]],
        conflict,
        lambda lines: [*lines[:2], lines[2].replace("0.", "much", 1), *lines[3:]],
        lambda lines: [*lines[:2], lines[2].replace("0.", "-9.", 1).replace("2,", "x,", 1), *lines[3:]],
        lambda lines: [*lines[:2], lines[2].replace("0.", "\x000.", 1), *lines[3:]],
        lambda lines: [*lines[:-1], lines[-1][:3]],
        lambda lines: [*lines, lines[1].replace("before", "during")],
    ],
    ids=["empty", "no header", "a column", "another column", "merge", "text", "out of range", "NUL", "cut", "twice"],
)
def test_a_damaged_table_is_named(tmp_path, name, spoil):
    path = tmp_path / f"{name}.csv"
    lines = (PLOTS / "ravdess" / path.name).read_text(encoding="utf-8").splitlines()
    path.write_text("".join(f"{line}\n" for line in spoil(lines)), encoding="utf-8")
    with pytest.raises(DamagedError, match=rf"{name}\.csv is damaged or of another run: .*evaluate@ravdess"):
        tables.read(path, "ravdess")


def test_a_header_alone_is_a_table_without_rows(tmp_path):
    path = tmp_path / "reliability.csv"
    path.write_text("stage,confidence,accuracy,clips\n", encoding="utf-8")
    empty = tables.read(path, "demo")
    assert len(empty) == 0
    assert plots.reliability(empty).startswith("<svg")
