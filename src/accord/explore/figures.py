"""The figure of one question: both forms by layer, of one model or of two side by side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from accord.report import style
from accord.report.drawn import Drawn
from accord.report.wording import in_figure

if TYPE_CHECKING:
    from accord.explore.asking import BothForms

_PANELS = {
    "generator": (style.GENERATOR, "Completing: log-odds of the answer"),
    "validator": (style.VALIDATOR, "Asked: log-odds of yes"),
}
_LINES = ("-", (0, (5, 2)), (0, (1.2, 1.6)))


def draw_both(answers: "Sequence[BothForms]", names: Sequence[str]) -> Drawn | None:
    """The log-odds of each form by layer; None where layers were not asked for.

    Args:
        answers: of the models to the same question, the base first.
        names: of the models, as they stand at the ends of their lines.
    """
    if not answers or any(both.layers is None for both in answers):
        return None
    figure = Figure(figsize=(style.NARROW, 5.0))
    for axes, (form, (colour, title)) in zip(figure.subplots(2, 1, sharex=True), _PANELS.items(), strict=True):
        axes.axhline(0, color=style.MUTED, linewidth=0.8)
        ends, last = [], 0
        for both, name, line in zip(answers, names, _LINES, strict=False):
            assert both.layers is not None
            values = both.layers[f"{form}_logodds"].to_numpy(dtype=float)
            last = int(both.layers["layer"].max())
            axes.plot(both.layers["layer"].to_numpy(), values, color=colour, linestyle=line, linewidth=1.8)
            ends.append((float(values[-1]), in_figure(name, 18), colour))
        axes.set_title(title)
        style.name_ends(axes, ends, last)
    axes.set_xlabel("layer (0 is what enters the first block)")
    words = "By layer, both forms of one question"
    style.title(figure, words, 58)
    caption = (
        "Every layer read with the model's own last norm and output head (logit lens): what it would answer, were it "
        "to stop there. Above zero it would rather say, or affirm, than not. A single question has no interval."
    )
    ends_told = "; ".join(
        f"{name}: completing {both.generator_logodds:.1f}, asked {both.validator_logodds:.1f}"
        for both, name in zip(answers, names, strict=True)
    )
    return Drawn("both-forms", figure, words, caption, f"Curves by layer, at the top {ends_told}.")
