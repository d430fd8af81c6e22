"""The figures: there, not empty, the same each time, and not to be broken by what a data file holds."""

import re
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from accord.gap.draw_categories import draw_categories
from accord.gap.draw_items import draw_scatter
from accord.gap.draw_lens import draw_lens
from accord.gap.figures import draw_all, write_gap_figures
from accord.gap.result import Gap
from accord.gap.slices import judged
from accord.report import style
from accord.report.drawn import Drawn, on_page
from accord.report.points import MANY_POINTS

Maker = Callable[..., Gap]
Scores = Callable[..., pd.DataFrame]
NAMES = ["scatter", "layers", "matrix", "lens", "categories", "rank"]
HOSTILE = [
    "<script>alert(1)</script>",
    "$x_1$ \\frac",
    "🐝\n\tbee",
    "\u202eright to left שלום",
    "--></svg>",
    "\"'&",
    "",
]


def draw(gap: Gap) -> list[Drawn]:
    """All figures of a gap, rendered (which is when text can go wrong) but not written."""
    with style.house_style():
        drawn = draw_all(gap)
        assert all(len(style.inline_svg(d.figure, d.name)) > 1000 for d in drawn)
    return drawn


def test_files_are_there_and_not_empty(tmp_path: Path, gap_maker: Maker) -> None:
    paths = write_gap_figures(gap_maker(), tmp_path / "figures")
    assert [path.name for path in paths] == [f"{name}.{kind}" for name in NAMES for kind in ("svg", "png")]
    for path in paths:
        if path.suffix == ".png":
            picture = matplotlib.image.imread(path)
            assert min(picture.shape[:2]) > 400
            assert picture[..., :3].std() > 0.05  # something is drawn
        else:
            assert path.read_text().count("<path") > 20


def test_without_layers(gap_maker: Maker) -> None:
    assert {d.name for d in draw(gap_maker(layers=False))} == {"scatter", "categories", "rank"}


def test_hostile_text_draws_without_a_warning(gap_maker: Maker, gap_scores: Scores) -> None:
    scores = gap_scores(140)
    scores["group"] = [HOSTILE[i % len(HOSTILE)] for i in range(len(scores))]
    gap = gap_maker(scores)
    gap.lens["top"] = gap.lens["token"] = [HOSTILE[i % len(HOSTILE)] for i in range(len(gap.lens))]
    assert len(draw(gap)) == 6  # warnings are errors here: missing glyphs, broken mathtext


def test_odd_scores(gap_maker: Maker, gap_scores: Scores) -> None:
    scores = gap_scores(60)
    metrics = {m: {"value": None, "low": None, "high": None} for m in ("generator_auc", "validator_auc", "pearson_no")}
    assert len(draw(gap_maker(scores.assign(gold=True), layers=False, metrics=metrics))) == 3
    infinite = gap_maker(scores, layers=False)
    scores.loc[0, "generator_logodds"] = -np.inf
    scores.loc[1, "validator_logodds"] = np.inf
    assert "2 items with an infinite score" in draw(infinite)[0].caption
    assert len(draw(gap_maker(scores.iloc[2:4].reset_index(drop=True), layers=False))) == 2


def test_inline_svg_is_fit_for_a_page(gap_maker: Maker) -> None:
    gap = gap_maker()
    seen: set[str] = set()
    with style.house_style():
        for drawn in draw_all(gap):
            svg = style.inline_svg(drawn.figure, f"p-{drawn.name}")
            assert svg.startswith("<svg viewBox=")
            assert not re.search(r"<text|<style|<script|<!--|<metadata|https?:", svg)
            ids = re.findall(r' id="([^"]+)"', svg)
            assert len(ids) == len(set(ids))
            assert not seen & set(ids)
            seen |= set(ids)
            referred = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg))
            assert {a or b for a, b in referred} == set(ids)
            assert "var(--ink)" in svg
            assert style.INK not in svg


def test_many_points_become_pixels(gap_maker: Maker, gap_scores: Scores) -> None:
    gap = gap_maker(gap_scores(MANY_POINTS + 500), layers=False)
    with style.house_style():
        svg = style.inline_svg(draw_scatter(gap).figure, "p")
    assert "data:image/png;base64" in svg
    assert len(svg) < 300_000


@pytest.mark.parametrize("lacking", ["said but denied", "affirmed but not said"])
def test_every_swatch_of_a_legend_is_seen(gap_maker: Maker, gap_scores: Scores, lacking: str) -> None:
    """Where the first category, whose bars the legend takes after, has no item of a kind too."""
    scores = judged(gap_scores(240))
    first = scores["group"] == scores["group"].iloc[0]
    affirms = scores["says"] ^ (first & (scores["says"] if lacking == "affirmed but not said" else ~scores["says"]))
    gap = gap_maker(scores.assign(validator_logodds=np.where(affirms, 1.0, -1.0)), layers=False)
    with style.house_style():
        drawn = draw_categories(gap)
    assert drawn is not None
    legend = drawn.figure.axes[0].get_legend()
    assert legend is not None
    for swatch, label in zip(legend.legend_handles, legend.get_texts(), strict=True):
        assert isinstance(swatch, Rectangle)
        filled = swatch.get_facecolor()[3] > 0
        assert filled or (swatch.get_linewidth() > 0 and swatch.get_edgecolor()[3] > 0), label.get_text()


def test_labels_are_spread() -> None:
    assert style.spread([0.5, 0.5, 0.51], 0.1, 0, 1) == pytest.approx([0.4, 0.5, 0.6], abs=0.02)
    assert style.spread([1.0, 1.0], 0.1, 0, 1) == pytest.approx([0.9, 1.0])
    assert style.spread([0.2, 0.8], 0.1, 0, 1) == pytest.approx([0.2, 0.8])
    assert style.spread([], 0.1, 0, 1) == []


@pytest.mark.parametrize("low", [1e-4, 0.031, 0.32, 1.1, 3.2, 6.1, 9.7, 210.0, 9990.0])
@pytest.mark.parametrize("ratio", [1.02, 1.4, 3.0, 12.0, 500.0, 1e6])
def test_a_log_scale_has_two_labels_at_least(low: float, ratio: float) -> None:
    ticks = style.log_ticks(low, low * ratio)
    assert 2 <= len(ticks) <= 12 and ticks == sorted(ticks)
    assert 0.999 * low <= ticks[0] and ticks[-1] <= 1.001 * low * ratio
    axes = Figure().add_subplot()
    axes.set_yscale("log")
    axes.set_ylim(low, low * ratio)
    style.log_axis(axes, "y")
    labels = [label.get_text() for label in axes.get_yticklabels() if label.get_text()]
    assert len(labels) == len(set(labels)) == len(ticks)
    assert not any(label.get_text() for label in axes.get_yticklabels(minor=True))


def test_an_axis_has_its_least_height() -> None:
    axes = Figure().add_subplot()
    axes.plot([0, 1], [0.0, 1e-17])
    style.at_least(axes, 0.02)
    assert axes.get_ylim() == pytest.approx((-0.01, 0.01))
    axes.set_ylim(-1, 3)
    style.at_least(axes, 0.02)
    assert axes.get_ylim() == (-1, 3)


def test_a_wide_figure_is_laid_out_for_a_phone_and_stays_as_it_was(gap_maker: Maker) -> None:
    with style.house_style():
        lens = draw_lens(gap_maker())
        assert lens is not None and lens.wide
        texts = [text.get_text() for axes in lens.figure.axes for text in axes.texts]
        (shown,) = on_page([lens], "p")
    assert shown["phone"] is not None
    widths = [float(re.findall(r'viewBox="0 0 ([\d.]+)', layout["svg"])[0]) for layout in (shown, shown["phone"])]
    assert widths == [72 * style.WIDE, pytest.approx(72 * style.NARROW, abs=0.1)]
    assert texts == [text.get_text() for axes in lens.figure.axes for text in axes.texts]
    assert lens.figure.get_size_inches()[0] == style.WIDE and len(lens.figure.axes[0].texts) > 20
    assert shown["weight"] == len(shown["svg"]) + len(shown["phone"]["svg"])
