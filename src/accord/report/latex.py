r"""Tables as LaTeX, to be set in a page as they are.

They need `\usepackage[T1]{fontenc}`, `array`, `booktabs`, `longtable` and `graphicx`, and pdflatex, xelatex or
lualatex; a comment at the top of a file says where it holds letters that pdflatex does not have.
"""

import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from accord.report.page_tables import Cell, Kind, PageTable

PREAMBLE = r"\usepackage[T1]{fontenc} \usepackage{array,booktabs,longtable,graphicx}"
_MOST_ROWS = 45  # of a table that stands on one page
_COLUMN, _PAGE = 52, 100  # letters, about, that stand beside each other in a column and on a page, at \small
_GAP = 3  # letters between columns
_EM = 0.48  # of a letter, about
_SHORT = 24  # letters: columns of longer texts are broken into lines where the table is too wide
_NARROW = 11  # letters: headings of narrow columns are broken into lines of so many
_SIZES = ((r"\small", 1.0), (r"\footnotesize", 1.12), (r"\scriptsize", 1.28))  # and how much more they hold

_SIGNS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}",
    "−": "$-$", "×": r"$\times$", "±": r"$\pm$", "·": r"$\cdot$", "→": r"$\rightarrow$", "≤": r"$\leq$", "≥": r"$\geq$",
    "∞": r"$\infty$", "√": r"$\surd$", "Σ": r"$\Sigma$", "‖": r"$\|$", "∅": r"$\emptyset$", "²": r"\textsuperscript{2}",
    "–": "--", "—": "---", "…": r"\ldots{}", "▾": r"$\downarrow$", "\N{NO-BREAK SPACE}": "~", "“": "``", "”": "''",
    "‘": "`", "’": "'", "⏎": r"$\hookleftarrow$", "⇥": r"$\mapsto$",
}  # fmt: skip
_SIGNS |= {"ᵀ": r"\textsuperscript{T}", "≈": r"$\approx$", "≠": r"$\neq$", "∂": r"$\partial$"}
_GREEK = "alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu xi pi rho sigma tau phi chi psi omega"
_SIGNS |= {unicodedata.lookup(f"greek small letter {n.replace('lambda', 'lamda')}"): f"$\\{n}$" for n in _GREEK.split()}
_JOINED = "-,'"  # two of them in a row would become another sign


def escaped(text: str) -> str:
    r"""Any text as LaTeX that prints it: on one line, without what cannot be seen.

    >>> print(escaped("50 % of $x_1$ −.5 [a-b--c]"))
    50 \% of \$x\_1\$ $-$.5 [a-b{-}{-}c]
    """
    out = []
    for i, character in enumerate(text):
        if character in _JOINED and character in text[max(0, i - 1) : i] + text[i + 1 : i + 2]:
            out.append(f"{{{character}}}")
        elif character in _SIGNS:
            out.append(_SIGNS[character])
        elif character.isspace():
            out.append(" ")
        elif _printed(character):
            out.append(character)
    return "".join(out)


def beyond_pdflatex(text: str) -> str:
    """The letters of a text, each once, that pdflatex has no sign for.

    >>> beyond_pdflatex("größer −.5 “昆虫” 昆")
    '昆虫'
    """
    return "".join(dict.fromkeys(c for c in text if c not in _SIGNS and _printed(c) and not _latin(c)))


def commented(body: str, shown: str) -> str:
    """The text of a file under a comment that says what it needs, for all that is `shown` in it."""
    lines = [f"% needs {PREAMBLE}"]
    if foreign := beyond_pdflatex(shown):
        lines.append(f"% and xelatex or lualatex, with a font that has {foreign[:200]}")
    return "\n".join([*lines, body]) + "\n"


def table_in_latex(table: PageTable, label: str) -> str:
    r"""A table to be read with \input: as it is set on the page, its heading as caption, its notes below.

    Where numbers and their intervals do not fit beside each other, intervals stand under their numbers; what is still
    too wide is made smaller. More rows than a page holds are a longtable, which takes a document in one column.
    """
    columns = _Columns(table)
    cells = [cell for row in (*table.header, *table.body) for cell in row]
    shown = "".join([table.title, *(text for text, _ in sum([*(c.text for c in cells), *table.notes], ()))])
    return commented("\n".join(_set(table, columns, label)), shown)


class _Columns:
    """How the columns of a table are set.

    Attributes:
        seen: those that hold anything; pictures do not count.
        stacked: whether intervals stand under their numbers.
        sides: column -> l or r.
        letters: column -> how wide it is in letters, about.
        paragraphs: the columns whose texts are broken into lines.
    """

    def __init__(self, table: PageTable) -> None:
        rows = [row for row in table.body if not table.heads(row)]
        cells = [(place, cell) for row in rows for place, cell in _placed(row)]
        self.seen = sorted({place for place, cell in cells if cell.words or cell.beside})
        own = {column: [cell for place, cell in cells if place == column and cell.columns == 1] for column in self.seen}
        self.sides = {column: "r" if any(cell.number for cell in own[column]) else "l" for column in self.seen}
        heads = [(place, cell) for row in table.header[-1:] for place, cell in _placed(row) if cell.columns == 1]
        words = {
            c: [len(word) for place, cell in heads if place == c for word in cell.words.split()] for c in self.seen
        }

        def wide(stacked: bool) -> dict[int, int]:
            return {c: max([*(_letters(cell, stacked) for cell in own[c]), *words[c]], default=0) for c in self.seen}

        self.stacked = sum(wide(False).values()) + _GAP * len(self.seen) > _PAGE
        self.letters, self.paragraphs = wide(self.stacked), set[int]()
        if self.width > _PAGE:
            self.paragraphs = {c for c in self.seen if self.sides[c] == "l" and self.letters[c] > _SHORT}
            long = sum(self.letters[c] for c in self.paragraphs)
            room = _PAGE - self.width + long
            self.letters |= {c: max(_SHORT, room * self.letters[c] // long) for c in self.paragraphs}

    @property
    def width(self) -> int:
        """Of all together in letters, about."""
        return sum(self.letters.values()) + _GAP * len(self.seen)

    def covered(self, place: int, cell: Cell) -> int:
        """How many of the columns that are seen a cell covers."""
        return len([column for column in self.seen if place <= column < place + cell.columns])

    @property
    def spelled(self) -> str:
        """As tabular takes them."""
        kinds = (
            rf">{{\raggedright\arraybackslash}}p{{{_EM * self.letters[c]:.1f}em}}"
            if c in self.paragraphs
            else self.sides[c]
            for c in self.seen
        )
        return "".join(["@{}", *kinds, "@{}"])


def _set(table: PageTable, columns: _Columns, label: str) -> Iterator[str]:
    head = [*_header(table, columns), r"\midrule"]
    body = [line for i, row in enumerate(table.body) for line in _line(table, columns, row, first=i == 0)]
    caption = rf"\caption{{{escaped(table.title)}}}\label{{tab:{label}}}"
    if len(table.body) > _MOST_ROWS:
        size = next((size for size, most in _SIZES if columns.width <= most * _PAGE), r"\tiny")
        yield rf"{{{size}\begin{{longtable}}{{{columns.spelled}}}"
        yield from (caption + r"\tabularnewline", r"\toprule", *head, r"\endfirsthead")
        yield from (r"\toprule", *head, r"\endhead", *body, r"\bottomrule", r"\end{longtable}", *_notes(table), "}")
        return
    kind = "table*" if columns.width > _COLUMN else "table"
    yield from (rf"\begin{{{kind}}}[tbp]", r"\centering\small", caption)
    yield r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    yield rf"\begin{{tabular}}{{{columns.spelled}}}"
    yield from (r"\toprule", *head, *body, r"\bottomrule", r"\end{tabular}}", *_notes(table), rf"\end{{{kind}}}")


def _header(table: PageTable, columns: _Columns) -> Iterator[str]:
    for i, row in enumerate(table.header):
        cells, rules, column = [], [], 1
        for place, cell in _placed(row):
            covered = columns.covered(place, cell)
            if not covered:
                continue
            side = "c" if covered > 1 else columns.sides[place]
            words = _main(cell)
            room = sum(columns.letters[c] + _GAP for c in columns.seen if place <= c < place + cell.columns) - _GAP
            if words:
                words = "\n".join(textwrap.wrap(words, max(_NARROW, room), break_long_words=False))
            edges = "@{}" * (column == 1), "@{}" * (column + covered > len(columns.seen))  # as those of the table
            setting = f"{edges[0]}{side}{edges[1]}"
            cells.append(rf"\multicolumn{{{covered}}}{{{setting}}}{{{_lines(words.splitlines(), side, 'b')}}}")
            if covered > 1 and words and i < len(table.header) - 1:
                rules.append(rf"\cmidrule(lr){{{column}-{column + covered - 1}}}")
            column += covered
        yield _row(cells)
        yield from [" ".join(rules)] if rules else []


def _line(table: PageTable, columns: _Columns, row: Sequence[Cell], first: bool) -> Iterator[str]:
    if table.heads(row):
        yield from [] if first else [r"\addlinespace"]
        yield _row([rf"\multicolumn{{{len(columns.seen)}}}{{@{{}}l@{{}}}}{{\textit{{{escaped(row[0].words)}}}}}"])
        return
    cells = []
    for place, cell in _placed(row):
        if covered := columns.covered(place, cell):
            paragraph = covered == 1 and place in columns.paragraphs
            text = _cell(cell, columns.stacked, paragraph)
            cells.append(text if covered == 1 else rf"\multicolumn{{{covered}}}{{l}}{{{text}}}")
    yield _row(cells)


def _cell(cell: Cell, stacked: bool, paragraph: bool) -> str:
    """As on the page: an interval beside its number or, stacked, under it; small print under the words."""
    main = _inline([(text, kind) for text, kind in cell.text if kind in ("text", "sub", "sup")])
    beside = [] if stacked else _of(cell, "interval")
    under = [*(_of(cell, "interval") if stacked else []), *_of(cell, "beside")]
    text = " ".join(filter(None, [main, *map(escaped, beside)]))
    small = [rf"{{\scriptsize {escaped(line)}}}" for line in under]
    if paragraph:
        return " ".join([text, *small])
    return _stack([text, *small], "r" if cell.number else "l", "t") if small else text


def _stack(lines: Sequence[str], side: str, place: str) -> str:
    return rf"\begin{{tabular}}[{place}]{{@{{}}{side}@{{}}}}" + r"\\[-2pt] ".join(lines) + r"\end{tabular}"


def _lines(words: Sequence[str], side: str, place: str) -> str:
    """Lines under each other, or the only one."""
    return _stack([escaped(line) for line in words], side, place) if len(words) > 1 else escaped("".join(words))


def _notes(table: PageTable) -> list[str]:
    lines = [_inline(note) for note in table.notes]
    return [rf"\par\smallskip{{\footnotesize\raggedright {line}\par}}" for line in lines if line]


def _inline(text: Iterable[tuple[str, Kind]]) -> str:
    """Pieces of a text on a line, lowered and raised ones as such."""
    raised = {"sub": "textsubscript", "sup": "textsuperscript"}
    pieces = [(escaped(piece), raised.get(kind)) for piece, kind in text if kind != "hidden"]
    return " ".join("".join(rf"\{command}{{{piece}}}" if command else piece for piece, command in pieces).split())


def _row(cells: Sequence[str]) -> str:
    # A bracket or a star at the beginning would belong to the command that ended the row before.
    return " & ".join(f"{{}}{cell}" if cell[:1] in ("[", "*") else cell for cell in cells) + r" \tabularnewline"


def _placed(row: Sequence[Cell]) -> Iterator[tuple[int, Cell]]:
    """The cells of a row, each with the column that it begins in."""
    place = 0
    for cell in row:
        yield place, cell
        place += cell.columns


def _main(cell: Cell) -> str:
    return " ".join("".join(text for text, kind in cell.text if kind in ("text", "sub", "sup")).split())


def _of(cell: Cell, kind: Kind) -> list[str]:
    return [line for text, of in cell.text if of == kind and (line := " ".join(text.split()))]


def _letters(cell: Cell, stacked: bool) -> int:
    interval = " ".join(_of(cell, "interval"))
    lines = [_main(cell), interval] if stacked else [f"{_main(cell)} {interval}".strip()]
    return max(map(len, [*lines, *_of(cell, "beside")]))


def _printed(character: str) -> bool:
    return unicodedata.category(character)[0] != "C"


def _latin(character: str) -> bool:
    base = unicodedata.normalize("NFD", character)[0]
    return character.isascii() or character in "ßæÆøØłŁđĐœŒþÞðÐı§°µ¿¡«»£" or (base.isascii() and ord(character) < 0x180)
