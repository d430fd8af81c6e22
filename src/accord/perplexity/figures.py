"""The figure of the perplexities: judge, the model itself, and repetition, side by side for every row."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from accord.heads.rows import BACKBONE, RANDOM
from accord.report import style
from accord.report.dots import Dots, draw_dots, say_means
from accord.report.drawn import Drawn
from accord.report.seeds import SeedGroup
from accord.report.wording import amount, in_figure

# (key, title of the panel, logarithmic, colour, marker)
_PANELS = (
    ("judge_mean", "Generated text, by the judge", True, style.RIGHT, "o"),
    ("own_perplexity", "Held-out text, by itself", True, style.GENERATOR, "s"),
    ("repeated_4", "Repetition in generated text", False, style.WRONG, "^"),
)
OUTLIER = 5.0  # times the largest other value
_AXES = {"repeated_4": "share of repeated runs of 4 words"}


def draw_perplexity(groups: Sequence[SeedGroup]) -> Drawn | None:
    """Every row of the perplexity table in its order."""
    panels = [panel for panel in _PANELS if any(group.metric(panel[0]).known for group in groups)]
    if not groups or panels[:1] != [_PANELS[0]]:
        return None
    figure = Figure(figsize=(style.WIDE, 1.35 + 0.31 * len(groups)))
    beyond = False
    ratios = [1.25 if key == "judge_mean" else 1.0 for key, *_ in panels]
    columns = figure.subplots(1, len(panels), sharey=True, squeeze=False, width_ratios=ratios)[0]
    for axes, (key, name, log, colour, marker) in zip(columns, panels, strict=True):
        rows = [[Dots(group.values(key), group.metric(key), colour, marker)] for group in groups]
        far = _far(groups, key) if log else None
        draw_dots(axes, rows, log=log, zero=not log, far=far)
        beyond = beyond or far is not None
        say_means(axes, rows)
        axes.set_title(name)
        axes.set_xlabel(_AXES.get(key, "perplexity (log scale)"))
    columns[0].set_yticks(range(len(groups)), [in_figure(group.label, 34) for group in groups])
    title = _title(groups)
    style.title(figure, title, 116)
    caption = (
        "Lower is better in all three, but only together: perplexity of generated text falls when a model repeats "
        "itself. Points: seeds. Upright mark and number: their mean. Line: 95 % t-interval over seeds, where there are "
        "several; on a log scale a line that meets the edge goes on beyond it. The two perplexities have different "
        "texts, models and tokens: compare within a panel, not across."
        + (" Arrow: far beyond the scale; the number tells." if beyond else "")
    )
    values = ", ".join(f"{in_figure(g.label, 34)} {amount(g.metric('judge_mean'))[0]}" for g in groups)
    alt = f"Dot plots by row. Mean perplexity under the judge: {values}."
    return Drawn("perplexity", figure, title, caption, alt, wide=True)


def _far(groups: Sequence[SeedGroup], key: str) -> int | None:
    """The place of random text where it lies so far out that it would press all others together."""
    others = [v for g in groups if g.named("row") != RANDOM for v in g.values(key) if math.isfinite(v)]
    for place, group in enumerate(groups):
        far = group.named("row") == RANDOM and group.metric(key).value > OUTLIER * max(others, default=math.inf)
        if far:
            return place
    return None


def _title(groups: Sequence[SeedGroup]) -> str:
    """What the judge finds in the backbone's texts, and the lowest among the others but random."""
    parts = []
    backbone = next((g for g in groups if g.named("row") == BACKBONE and g.metric("judge_mean").known), None)
    others = [g for g in groups if g.named("row") not in (BACKBONE, RANDOM) and g.metric("judge_mean").known]
    if backbone is not None:
        parts.append(f"backbone {amount(backbone.metric('judge_mean'))[0]}")
    if others:
        best = min(others, key=lambda g: g.metric("judge_mean").value)
        which = "lowest of the others: " if backbone is not None else "lowest: "
        parts.append(f"{which}{in_figure(best.label, 40)} {amount(best.metric('judge_mean'))[0]}")
    return "Judged perplexity: " + ("; ".join(parts) if parts else "random text alone")
