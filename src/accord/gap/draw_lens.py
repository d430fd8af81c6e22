"""The logit-lens map of one example: what the model would say next, at every layer and position."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from accord.gap.result import Gap
from accord.report import style
from accord.report.drawn import Drawn
from accord.report.wording import in_figure, number

LAST_POSITIONS = 9  # the end of a few-shot prompt is what matters, and all that fits in legible letters
MOST_ROWS = 17
SHADES = LinearSegmentedColormap.from_list("accord-lens", ["#f3f7fb", "#a9cfe8", "#3b8fc4", "#00507d", "#00304d"])
FORMS = ("generator", "validator")


def draw_lens(gap: Gap) -> Drawn | None:
    """The token map of both forms side by side, layers upward, the prompt's last tokens from left to right."""
    table = gap.lens
    if table is None or table.empty:
        return None
    lengths = {form: int(table.loc[table["form"] == form, "position"].max() + 1) for form in set(table["form"])}
    parts = {form: _ending(table[table["form"] == form]) for form in FORMS}
    parts = {form: part for form, part in parts.items() if not part.empty}
    if not parts:
        return None
    columns = [part["position"].nunique() for part in parts.values()]
    rows = max(part["layer"].nunique() for part in parts.values())
    figure = Figure(figsize=(style.WIDE, 1.9 + 0.27 * rows))
    panels = figure.subplots(1, len(parts), squeeze=False, width_ratios=[max(c, 4) for c in columns])[0]
    for axes, (form, part) in zip(panels, parts.items(), strict=True):
        mesh = _map(axes, part, 0.84 * style.WIDE / sum(max(c, 4) for c in columns))
        axes.set_title({"generator": "completing", "validator": "asked"}[form])
        shown, whole = part["position"].nunique(), lengths[form]
        axes.set_xlabel("the prompt" if shown == whole else f"the last {shown} of the prompt's {whole} tokens")
    panels[0].set_ylabel("layer")
    bar = figure.colorbar(mesh, ax=list(panels), aspect=30, pad=0.01)
    bar.ax.yaxis.set_major_formatter(style.tick)
    bar.set_label("probability of the top token")
    bar.outline.set_visible(False)
    ends = [f"{_form_verb(form)} “{in_figure(_end(part)['top'], 20).strip()}” ({number(_end(part)['probability'])})"
            for form, part in parts.items()]  # fmt: skip
    title = "One example, layer by layer: " + "; ".join(ends)
    style.title(figure, title, 110)
    caption = (
        f"{_example(table, gap.scores)}Each cell: the token that the model would write after this position, were it "
        "to stop at this layer (logit lens); the darker, the surer. Read the framed last column of each map upward: "
        "it is where the answer forms."
    )
    return Drawn("lens", figure, title, caption, f"Token map. {title}.", wide=True)


def _example(table: pd.DataFrame, scores: pd.DataFrame) -> str:
    """Which item it is, where the table says so."""
    if "item" not in table.columns or not 0 <= int(table["item"].iloc[0]) < len(scores):
        return ""
    row = scores.iloc[int(table["item"].iloc[0])]
    prompt = in_figure(str(row["generator_prompt"]).rpartition("\n")[2], 160)
    return f"The item: “{prompt}” → “{in_figure(row['answer'], 60)}”, a {'right' if row['gold'] else 'wrong'} answer. "


def _ending(part: pd.DataFrame) -> pd.DataFrame:
    """The last positions, and every so many layers counted down from the top one."""
    positions = sorted(part["position"].unique())[-LAST_POSITIONS:]
    layers = sorted(part["layer"].unique(), reverse=True)
    kept = set(layers[:: max(1, -(-len(layers) // MOST_ROWS))])
    return part[part["position"].isin(positions) & part["layer"].isin(kept)]


def _map(axes: Axes, part: pd.DataFrame, cell: float) -> AxesImage:
    probability = part.pivot(index="layer", columns="position", values="probability").sort_index()
    tops = part.pivot(index="layer", columns="position", values="top").sort_index()
    values = probability.to_numpy(dtype=float)
    mesh = axes.imshow(values, cmap=SHADES, vmin=0, vmax=1, aspect="auto", origin="lower", interpolation="nearest")
    letters = max(3, int(cell / 0.085))  # a letter of 8 points is about this wide, in inches
    for row, layer in enumerate(tops.index):
        for column, position in enumerate(tops.columns):
            text = _token(tops.loc[layer, position], letters)
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=_ink_on(values[row, column]))
    tokens = part.drop_duplicates("position").set_index("position")["token"].reindex(tops.columns)
    axes.set_xticks(range(len(tokens)), [_token(t, letters) for t in tokens], fontsize=8.5)
    axes.set_yticks(range(len(tops.index)), [f"{layer:.0f}" for layer in tops.index])
    axes.set_xticks(np.arange(-0.5, len(tokens)), minor=True)
    axes.grid(which="minor", color=style.GROUND, linewidth=1.2)
    frame = Rectangle((len(tokens) - 1.5, -0.5), 1, len(tops.index), fill=False, edgecolor="#e69f00", linewidth=2.2)
    axes.add_patch(frame).set_clip_on(False)
    axes.tick_params(which="both", length=0)
    style.quiet(axes)
    return mesh


def _ink_on(probability: float) -> str:
    """Black or white, whichever stands out more from the shade of its cell (relative luminance, as WCAG has it)."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in SHADES(probability)[:3])
    return "#f8fafc" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.18 else "#14181d"


def _token(text: object, letters: int) -> str:
    """A token without its leading space (nearly all have one); one that is only space is shown as such."""
    shown = in_figure(text)
    return in_figure(shown.strip(), letters) if shown.strip() else "␣"


def _end(part: pd.DataFrame) -> pd.Series:
    return part.sort_values(["layer", "position"]).iloc[-1]


def _form_verb(form: str) -> str:
    return "completing, it ends on" if form == "generator" else "asked, on"
