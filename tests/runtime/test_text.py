"""Figures and tables as text."""

from __future__ import annotations

import csv
import io

import pytest

from ser.runtime.text import csv_line, markdown_table, number, percent


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.6885, "68.9"),  # 100 * 0.6885 formats as 68.8
        (0.7965, "79.7"),  # and this one as 79.6
        (0.0005, "0.1"),
        (0.00049, "0.0"),
        (1.0, "100.0"),
        (0, "0.0"),
        (-0.0005, "-0.1"),
        (-0.6885, "-68.9"),
        (-0.00001, "0.0"),
        (1e-12, "0.0"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_per_cent_rounds_the_stored_digits_half_up(value, text):
    assert percent(value) == text


def test_every_stored_value_rounds_as_its_digits_say():
    """All 10,001 values with four digits, against whole-number arithmetic."""
    for stored in range(10_001):
        tenths = (stored + 5) // 10
        assert percent(stored / 10_000) == f"{tenths // 10}.{tenths % 10}"


@pytest.mark.parametrize(("value", "text"), [(0.0285, "+2.9"), (-0.0285, "-2.9"), (0.0, "+0.0"), (-0.00001, "+0.0"), (None, "–")])
def test_differences_carry_their_sign(value, text):
    assert percent(value, sign=True) == text


@pytest.mark.parametrize(("value", "digits", "text"), [(0.0005, 3, "0.001"), (2.675, 2, "2.68"), (12.5, 0, "13"), (None, 2, "–")])
def test_numbers(value, digits, text):
    assert number(value, digits) == text


@pytest.mark.parametrize("cell", ["", "a", "a,b", 'a"b', "a\rb", "\r", "a\nb", "a\r\nb", " a ", "ä;b"])
def test_a_line_of_a_csv_is_read_as_it_was(cell):
    line = csv_line([cell, 5, cell])
    assert line.endswith("\n")
    assert list(csv.reader(io.StringIO(line, newline=""))) == [[cell, "5", cell]]


def test_a_table_lines_up():
    made = markdown_table(["name", "UA"], [["a", "1.0"], ["longer", "10.0"]], right=[1])
    assert made.splitlines() == [
        "| name   |   UA |",
        "|--------|-----:|",
        "| a      |  1.0 |",
        "| longer | 10.0 |",
    ]


def test_a_table_without_rows_is_its_head():
    assert markdown_table(["a"], []) == "| a |\n|---|"


def test_a_row_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match="shorter"):
        markdown_table(["a", "b"], [["1"]])
