"""A result as a notebook shows it: what was found, the main numbers, and the picture.

A result says nothing of how it looks: the module `notebook` of its capability does.
"""

import base64
import io
from collections.abc import Sequence
from html import escape
from types import ModuleType
from typing import TYPE_CHECKING

from accord.capabilities import part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from accord.report.finding import Finding


class InNotebook:
    """A result whose capability has a module `notebook` with `html(result)` and `figures(result)`."""

    def _repr_html_(self) -> str:
        return str(self._shown().html(self))

    def plot(self) -> "dict[str, Figure]":
        """The figures of the page that this result has the numbers for, by their names."""
        figures: dict[str, Figure] = self._shown().figures(self)
        return figures

    def _shown(self) -> ModuleType:
        module = part(type(self).__module__.rpartition(".")[0], "notebook")
        assert module is not None, f"{type(self).__name__} has no notebook module"
        return module


def finding_html(
    finding: "Finding",
    header: Sequence[str] = (),
    rows: Sequence[Sequence[str]] = (),
    figure: "Figure | None" = None,
) -> str:
    """A finding, a table below it, and a figure, as HTML; all text is escaped."""
    blocks = [f"<p><b>{escape(finding.headline)}</b></p>"]
    blocks += [f"<p>{escape(text)}</p>" for text in (finding.evidence, finding.others) if text]
    if finding.remarks:
        blocks.append("<ul>" + "".join(f"<li>{escape(remark)}</li>" for remark in finding.remarks) + "</ul>")
    if rows:
        head = "".join(f"<th>{escape(name)}</th>" for name in header)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        blocks.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    if figure is not None:
        blocks.append(_picture(figure))
    return "\n".join(blocks)


def _picture(figure: "Figure") -> str:
    """A PNG inside the page, on a ground of its own: notebooks are light or dark."""
    from accord.report import style

    buffer = io.BytesIO()
    with style.house_style():
        figure.savefig(buffer, format="png", dpi=110, facecolor=style.GROUND)
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
