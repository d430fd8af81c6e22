"""Numbers as papers print them, and foreign text in glyphs that the figures have."""

import pytest

from accord.intervals.estimate import brief
from accord.report.metric import Metric
from accord.report.style import tick
from accord.report.wording import capital, count, equals, in_figure, interval, measured, number, shown_token

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.85, ".85"), (-0.07, "−.07"), (1.0, "1.00"), (-0.001, ".00"), (0.999, "1.00"), (NAN, "n/a"),
     (float("-inf"), "−∞"), (12.345, "12.35")],
)  # fmt: skip
def test_number(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize("digits", [0, 1, 2, 3])
@pytest.mark.parametrize("value", [-0.0, 0.0, -1e-9, -0.00049, 0.00049, -1e-17])
def test_what_rounds_to_nothing_has_no_sign(value: float, digits: int) -> None:
    texts = [number(value, digits), number(value, digits, signed=True), tick(round(value, digits), None)]
    texts += [measured(Metric(value, value, value), digits, signed=True), brief({"value": value}, digits)]
    assert not any(set("−-+") & set(text) for text in texts), texts


def test_a_change_has_its_sign() -> None:
    assert [number(v, signed=True) for v in (0.5, -0.5, float("inf"))] == ["+.50", "−.50", "+∞"]


def test_measured() -> None:
    metric = Metric(0.85, 0.8, 0.9)
    assert measured(metric).split() == [".85", "[.80,", ".90]"]
    assert interval(Metric(0.5, NAN, NAN)) == ""
    assert measured(Metric(0.5, NAN, NAN)) == ".50"
    assert " " not in equals("r", metric)  # ordinary spaces would let it break across lines
    assert number(-0.5, bare=False) == "−0.50"
    assert (count(1, "item"), count(1200, "item")) == ("1 item", "1,200 items")


def test_no_token_is_invisible() -> None:
    shown = {" film": "·film", "film": "film", " ": "·", "   ": "···", "": "∅", "\r\n": "⏎", "\t": "⇥", " a b": "·a b"}
    assert {token: shown_token(token) for token in shown} == shown


def test_a_capital_letter_is_all_that_changes() -> None:
    assert (capital("random concepts of LCBLM"), capital("")) == ("Random concepts of LCBLM", "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc", "a⏎b⇥c"),
        ("$x_1$", "$x_1$"),
        ("🐝 bee", "□ bee"),
        ("\u202eevil\u200d", "evil"),
        ("\x00\ud800", "··"),
        ("日本", "□□"),
        ("naïve שלום", "naïve שלום"),
    ],
)
def test_in_figure(text: str, shown: str) -> None:
    assert in_figure(text) == shown


def test_in_figure_cuts() -> None:
    assert in_figure("unwiederbringlich", 8) == "unwiede…"
    assert in_figure("short", 8) == "short"
