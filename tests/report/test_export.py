"""The page as files: every table and figure of it, numbers as numbers, fit to be printed, the same each time."""

import re
import shutil
import subprocess
import zlib
from collections.abc import Callable
from csv import DictReader
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from tests.report.meaning_folder import write_explanation, write_names, write_steering
from tests.report.run_folder import publish_result
from tests.report.search_folder import write_search
from tests.report.test_html import HOSTILE
from tests.verdict.repaired_run import MADE, write_run
from typer.testing import CliRunner

from accord import cli
from accord.errors import AccordError
from accord.report import export, style, write_report
from accord.report.drawn import Drawn
from accord.report.figure_numbers import numbers_of
from accord.report.print_layout import PRINTS
from accord.report.printable import for_print, save_printable
from accord.report.run_metrics import run_metrics
from accord.study.check import check
from accord.study.run_folder import Run

Writer = Callable[..., Path]
Scores = Callable[..., pd.DataFrame]


@pytest.fixture
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and exports without pictures: drawing them is nearly all of the time."""
    monkeypatch.setattr("accord.report.style.inline_svg", lambda figure, prefix: "")
    monkeypatch.setattr("accord.report.exported._write_figures", lambda *_: iter(()))


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)  # no test cuts the power


def names_of(paths: list[Path]) -> list[str]:
    return sorted(path.name for path in paths)


# Tables


def test_every_table_of_the_page_is_a_file(tmp_path: Path, unpainted: None, gap_writer: Writer) -> None:
    gap_writer(tmp_path / "gap" / "hypernymy", layers=False)
    write_names(tmp_path)
    write_steering(tmp_path)
    write_explanation(tmp_path)
    write_run(tmp_path, {"readout": MADE["readout"]}, trials=("test", "task-trivia"), n=40)
    paths = export(tmp_path)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    tables = [path for path in paths if path.parent == tmp_path / "export" / "tables"]
    assert len(tables) == html.count("<table") > 15
    assert {"gap-hypernymy-measures.csv", "gap-hypernymy-categories.csv", "repair-table.csv", "repair-trials.csv",
            "repair-damage-readout.csv", "steering-promoted.csv"} <= set(names_of(tables))  # fmt: skip
    assert all(len(pd.read_csv(path)) for path in tables)
    assert check(tmp_path) == []


def test_numbers_are_numbers_beside_their_intervals(tmp_path: Path, unpainted: None, run_folder: Path) -> None:
    export(run_folder, out=tmp_path)
    metrics = Run(run_folder)["gap/hypernymy"].metrics
    measures = pd.read_csv(tmp_path / "tables" / "gap-hypernymy-measures.csv")
    assert list(measures)[:5] == ["Measure", "Value", "Value low", "Value high", "What it says"]
    for row in measures.to_dict("records"):
        metric = metrics[row["What it says note"].partition(" · ")[0]]
        for end in ("value", "low", "high"):
            assert row[f"Value {end}".removesuffix(" value")] == pytest.approx(metric[end], abs=0.005)
    categories = pd.read_csv(tmp_path / "tables" / "gap-hypernymy-categories.csv")
    shares = categories[["Disagree low", "Disagree (share)", "Disagree high"]].to_numpy()
    assert (np.diff(shares, axis=1) >= 0).all() and shares.max() <= 1
    assert categories["Items"].dtype == np.int64 and categories["Items"].sum() == 240


def test_headings_over_rows_and_over_columns_name_what_they_head(tmp_path: Path, unpainted: None) -> None:
    write_steering(tmp_path)
    write_run(tmp_path, {"readout": MADE["readout"]}, trials=("test", "task-trivia"), n=40)
    export(tmp_path)
    trials = pd.read_csv(tmp_path / "export" / "tables" / "repair-trials.csv")
    assert list(trials["group"]) == ["test items, 40 items", "task trivia, 20 items"]
    assert {"r, all before", "r, all", "r, all low", "Closed, all", "Closed, wrong high"} <= set(trials)
    promoted = pd.read_csv(tmp_path / "export" / "tables" / "steering-promoted.csv")
    assert promoted["Dose"].notna().all()
    assert (promoted["Act as expected: Concepts n"] == 20).all()
    damage = pd.read_csv(tmp_path / "export" / "tables" / "repair-damage-readout.csv")
    assert set(damage["Change unit"].fillna("")) == {"×", ""}
    assert "worse" in set(damage["Verdict"])


TOY = """<section><h3>Counts <small>of letters</small></h3>
<table><thead><tr><th rowspan="2">Letter</th><th colspan="2">Times</th></tr>
<tr><th class="num">train</th><th class="num">test</th></tr></thead>
<tbody><tr><th rowspan="2">{{ shown.letter }}</th>
<td class="num">1,234 [1,100, 1,300]</td><td class="num">&lt; .001</td></tr>
<tr><td class="num">12 of 48</td><td class="num">–</td></tr></tbody></table>
<p class="note">Counted by hand.</p></section>"""
TOY_PAGE = """
from pathlib import Path
from accord.report.chapter import Chapter

def chapters(run):
    return [Chapter("toy", "Toys", Path(__file__).parent / "page.html", {"letter": "$a_1$ & 50 % [x]"})]
"""


def test_a_capability_exports_its_tables_without_a_line_of_code(
    tmp_path: Path, unpainted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "code" / "toy_with_table"
    package.mkdir(parents=True)
    for name, text in {"__init__.py": "", "page.py": TOY_PAGE, "page.html": TOY}.items():
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr("accord.report.html.CAPABILITIES", ("toy_with_table",))
    (tmp_path / "run").mkdir()
    [path] = export(tmp_path / "run")
    assert path.name == "toy-counts-of-letters.csv"
    table = pd.read_csv(path)
    assert list(table["Letter"]) == ["$a_1$ & 50 % [x]"] * 2
    assert list(table["Times: train"]) == [1234, 0.25] and list(table["Times: train n"].fillna(0)) == [0, 48]
    assert list(table["Times: train low"].fillna(0)) == [1100, 0] and table["Times: test note"][0] == "<"
    [path] = export(tmp_path / "run", "latex")
    tex = path.read_text()
    assert r"\caption{Toys: Counts (of letters)}\label{tab:toy-counts-of-letters}" in tex
    assert tex.count(r"\$a\_1\$ \& 50 \% [x]") == 1  # the cell covers two rows
    assert r"\multicolumn{2}{c@{}}{Times}" in tex and r"\cmidrule(lr){2-3}" in tex and "Counted by hand." in tex


def test_a_workbook_has_a_sheet_a_table_and_text_is_no_formula(
    tmp_path: Path, unpainted: None, gap_writer: Writer, gap_scores: Scores
) -> None:
    scores = gap_scores(60)
    scores["group"] = [f'=HYPERLINK("x") {i % 3}' for i in range(len(scores))]
    gap_writer(tmp_path / "gap" / "one", scores, layers=False)
    [path] = [path for path in export(tmp_path, "xlsx") if path.suffix == ".xlsx"]
    book = openpyxl.load_workbook(path)
    assert book.sheetnames[:2] == ["contents", "metrics"] and len(book.sheetnames) == 8
    sheet = book["gap-one-categories"]
    assert (sheet["A2"].data_type, sheet["A2"].value[:11]) == ("s", "=HYPERLINK(")
    assert isinstance(sheet["B2"].value, int) and 0 <= sheet["C2"].value <= 1
    titles = {row[0]: row[1] for row in book["contents"].values}
    assert titles["gap-one-categories"] == "one: Where the two forms disagree: All 3 categories in numbers"
    first = path.read_bytes()
    export(tmp_path, "xlsx")
    assert path.read_bytes() == first


def test_metrics_have_every_digit(tmp_path: Path, unpainted: None, run_folder: Path) -> None:
    export(run_folder, out=tmp_path)
    with (tmp_path / "metrics.csv").open(encoding="utf-8") as file:
        rows = {(row["stage"], row["metric"]): row for row in DictReader(file)}
    metrics = Run(run_folder)["gap/hypernymy"].metrics
    assert len(rows) == len(metrics)
    row = rows["gap/hypernymy", "pearson_all"]
    assert [float(row[end]) for end in ("value", "low", "high")] == list(metrics["pearson_all"].values())
    assert row["level"] == "0.95"


def test_metrics_of_every_kind_of_result(tmp_path: Path) -> None:
    write_run(tmp_path, {"readout": MADE["readout"]}, trials=("test",), n=40)
    effects, explanation = write_steering(tmp_path), write_explanation(tmp_path)
    named = write_names(tmp_path)
    table = run_metrics(Run(tmp_path)).set_index(["stage", "metric"])

    def numbers(stage: str, metric: str) -> list[Any]:
        return table.loc[(stage, metric), ["value", "low", "high"]].tolist()

    run = Run(tmp_path)
    closure = run["verdict/readout-s0"].changes["test"]["pearson_all"].closure
    assert numbers("verdict/readout-s0", "test/pearson_all/closure") == [
        closure[end] for end in ("value", "low", "high")
    ]
    assert table.loc[("verdict/readout-s0", "test/pearson_all/closure"), "n"] == 40
    damage = run["damage/readout-s0"].table.set_index(["group", "measure"]).loc[("text", "perplexity")]
    assert numbers("damage/readout-s0", "text/perplexity/change") == [damage[c] for c in ("change", "low", "high")]
    cka = run["pathway/readout-s0"].cka.iloc[-1]
    place = f"cka/{cka['form']}/layer {cka['layer']}"
    assert numbers("pathway/readout-s0", place) == [cka[c] for c in ("value", "low", "high")]
    check = explanation.summary["check"]["against"]
    assert numbers("explain/lcblm-s0", "against/change") == [check[end] for end in ("value", "low", "high")]
    dose = effects.doses().iloc[0]
    assert (
        numbers("steering/lcblm-s0", f"{dose['measure']}/{dose['kind']} {dose['dose']:g}/{dose['control']}")[0]
        == dose["value"]
    )
    assert numbers("names/lcblm-s0", "detection")[0] == named.metrics["detection"]["value"]
    assert not table["value"].isna().all()


# LaTeX


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, gap_maker: Callable[..., Any], gap_scores: Scores) -> Path:
    """A run whose texts hold what LaTeX, HTML and terminals take for commands; those of its letters that are Latin."""
    run = tmp_path_factory.mktemp("runs") / "hostile"
    text = "\\input{/etc/passwd} $x_1$ 100% {#&~^} \x00\x1b[31m \u202e--- ``q'' <b> ρ “é”"
    scores = gap_scores(120)
    scores["group"] = [f"{'[*'[i % 2]}{text} {i % 3}" for i in range(len(scores))]
    scores["similarity"] = text
    gap = gap_maker(scores, layers=False)
    publish_result(run, "gap", "a_b", gap, settings={"model": text, "task": text})
    return run


def test_foreign_text_is_no_command_of_latex(hostile: Path, unpainted: None, tmp_path: Path) -> None:
    export(hostile, "latex", out=tmp_path)
    tex = (tmp_path / "tables" / "gap-a-b-categories.tex").read_text(encoding="utf-8")
    assert r"\textbackslash{}input\{/etc/passwd\} \$x\_1\$ 100\% \{\#\&\textasciitilde{}\textasciicircum{}\}" in tex
    assert r"\input" not in tex and "\x00" not in tex and "\x1b" not in tex and "\u202e" not in tex
    assert r"{-}{-}{-} \textasciigrave{}\textasciigrave{}q{'}{'} \textless{}b\textgreater{} $\rho$ ``é''" in tex
    assert not re.search(r"^[\[*]", tex, re.MULTILINE)  # it would belong to the end of the row before
    assert "xelatex" not in tex.splitlines()[1]


def test_letters_that_pdflatex_lacks_are_told(
    tmp_path: Path, unpainted: None, gap_writer: Writer, gap_scores: Scores
) -> None:
    gap_writer(tmp_path / "gap" / "one", gap_scores(60).assign(group="昆虫"), layers=False)
    export(tmp_path, "latex")
    tex = (tmp_path / "export" / "tables" / "gap-one-categories.tex").read_text(encoding="utf-8")
    assert tex.splitlines()[1] == "% and xelatex or lualatex, with a font that has 昆虫"


@pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="of LaTeX in a page (apt install texlive-latex-recommended)"
)
def test_tables_and_figures_are_set_in_a_page(hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.report.style.inline_svg", lambda figure, prefix: "")
    export(hostile, "latex", out=tmp_path)
    tables = "".join(f"\\input{{tables/{path.name}}}\n" for path in sorted((tmp_path / "tables").iterdir()))
    needs = re.search(r"% needs (.*)", (tmp_path / "figures" / "figures.tex").read_text())
    (tmp_path / "page.tex").write_text(
        rf"\documentclass[twocolumn]{{article}}{needs[1]}\graphicspath{{{{figures/}}}}\begin{{document}}"
        rf"{tables.replace('longtable', 'longtable')}\onecolumn\input{{figures/figures.tex}}\end{{document}}"
    )
    words = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "page.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "page.pdf").stat().st_size > 20_000


# Figures


@pytest.mark.parametrize(("look", "width"), [("paper", "column"), ("slides", "page")])
def test_figures_are_legible_at_their_size(look: Any, width: Any, gap_maker: Callable[..., Any]) -> None:
    from accord.gap.figures import draw_all

    with style.house_style():
        for drawn in draw_all(gap_maker()):
            printable = for_print(drawn.figure, look, width)
            figure, scale = printable.figure, printable.scale
            wide = getattr(PRINTS[look], printable.width)
            assert printable.inches == pytest.approx(wide, abs=0.01) or (
                drawn.name == "matrix" and printable.inches < wide
            )
            assert figure.get_size_inches()[1] * scale <= getattr(PRINTS[look], f"{printable.width}_height") + 0.01
            figure.draw_without_rendering()
            shown = {" ".join(text.get_text().split()) for text in figure.findobj(Text) if text.get_visible()}
            assert " ".join(drawn.title.split()) not in shown  # the caption has it
            room, drawn_on = figure.get_size_inches(), figure.get_tightbbox()
            assert drawn_on.x0 > -0.05 and drawn_on.x1 < room[0] + 0.05, drawn.name
            assert drawn_on.y0 > -0.05 and drawn_on.y1 < room[1] + 0.05, drawn.name
            smallest = min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) * scale
            assert smallest >= (6.5 if look == "paper" else 13.0)
            for axes in figure.axes:
                ticks = [t.get_window_extent() for t in axes.get_xticklabels() if t.get_text() and t.get_visible()]
                inside = axes.get_window_extent()
                edges = sorted((b.x0, b.x1) for b in ticks if inside.x0 - 1 <= (b.x0 + b.x1) / 2 <= inside.x1 + 1)
                assert all(right[0] >= left[1] for left, right in pairwise(edges)), drawn.name


def test_panels_move_and_share_their_labels() -> None:
    with style.house_style():
        figure = Figure(figsize=(style.WIDE, 3.0))
        panels = figure.subplots(1, 3, sharex=True, sharey=True)
        for axes in panels:
            axes.plot([0, 1], [0, 1])
            axes.set_xlabel("step")
        panels[0].set_ylabel("loss")
        assert for_print(figure, "paper", "column").width == "column"
    assert {axes.get_subplotspec().colspan.start for axes in panels} == {0}
    assert [axes.get_xlabel() for axes in panels] == ["", "", "step"]
    assert [axes.get_ylabel() for axes in panels] == ["loss"] * 3


def test_what_is_too_high_for_a_column_gets_a_page() -> None:
    with style.house_style():
        figure = Figure(figsize=(style.WIDE, 9.0))
        for axes in figure.subplots(1, 2):
            axes.barh(range(40), range(40))
            axes.set_yticks(range(40), [f"category {i}" for i in range(40)])
        printable = for_print(figure, "paper", "column")
    assert (printable.width, printable.inches) == ("page", 6.9)


def test_the_same_export_gives_the_same_bytes_and_leaves_other_files(
    tmp_path: Path, gap_writer: Writer, gap_scores: Scores
) -> None:
    folder = gap_writer(tmp_path / "out", gap_scores(60), layers=False)  # as `accord gap --out` makes it
    page = write_report(folder).read_bytes()
    paths = export(folder)
    names = ["gap-out-categories", "gap-out-rank", "gap-out-scatter"]
    figures = folder / "export" / "figures"
    assert sorted(path.name for path in figures.glob("*.pdf")) == [f"{name}.pdf" for name in names]
    assert sorted(path.name for path in figures.glob("*.csv")) == [f"{name}.csv" for name in names]
    first = {path: path.read_bytes() for path in paths}
    (figures / "mine.txt").write_text("mine")
    assert export(folder) == paths
    assert {path: path.read_bytes() for path in paths} == first
    assert (figures / "mine.txt").read_text() == "mine"
    assert check(folder) == []
    assert write_report(folder).read_bytes() == page  # it lists the files of a measurement, and no exports
    pdf = first[figures / "gap-out-scatter.pdf"]
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", pdf)
    assert box is not None and float(box[1]) == pytest.approx(3.3 * 72, abs=0.1)
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf
    tex = (figures / "figures.tex").read_text(encoding="utf-8")
    assert r"\includegraphics[width=\ifdim\columnwidth<3.3in \columnwidth\else 3.3in\fi]{gap-out-scatter}" in tex
    assert tex.count(r"\caption{\textbf{") == 3


def test_all_of_a_figure_is_in_its_pdf(tmp_path: Path) -> None:
    with style.house_style():
        figure = Figure(figsize=(style.NARROW, 3.0))
        figure.add_subplot().plot(np.linspace(0, 1, 100), np.arange(100) % 2)
        printable = for_print(figure, "paper", "column")
        save_printable(printable, tmp_path / "f.pdf", "pdf")
    streams = re.findall(rb"stream\n(.*?)endstream", (tmp_path / "f.pdf").read_bytes(), re.DOTALL)
    drawn = b"".join(zlib.decompress(stream) for stream in streams if stream[:1] == b"x")
    assert b"0.75 0 0 0.75 0 0 cm" in drawn
    places = np.array([pair.split() for pair in re.findall(rb"([\d.]+ [\d.]+) l", drawn)], dtype=float)
    rightmost = places[:, 0] > 0.8 * 72 * figure.get_size_inches()[0]
    assert rightmost.sum() > 15  # the line goes on to where the figure ends


def test_svg_and_png_have_their_size(tmp_path: Path) -> None:
    with style.house_style():
        figure = Figure(figsize=(style.NARROW, 3.0))
        figure.add_subplot().plot([0, 1], [0, 1])
        printable = for_print(figure, "paper", "page")
        for kind in ("svg", "png"):
            save_printable(printable, tmp_path / f"f.{kind}", kind)  # type: ignore[arg-type]
    svg = (tmp_path / "f.svg").read_text()
    assert float(re.search(r'width="([\d.]+)pt"', svg)[1]) == pytest.approx(6.9 * 72, abs=0.1)  # type: ignore[index]
    assert "<text" not in svg and "#ffffff" in svg
    with Image.open(tmp_path / "f.png") as picture:
        assert picture.width == pytest.approx(6.9 * 300, abs=2)
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_a_search_is_exported(tmp_path: Path) -> None:
    write_search(tmp_path, 8, failed=2)
    paths = export(tmp_path)
    tables = ["search-failed.csv", "search-table-of-trials.csv"]
    assert names_of(paths) == ["figures.tex", tables[0], "search-search.csv", "search-search.pdf", tables[1]]
    numbers = pd.read_csv(tmp_path / "export" / "figures" / "search-search.csv")
    assert list(numbers)[:3] == ["trial", "concepts/sae:r2_hard", "kind"] and len(numbers) == 8


# Numbers of figures


def table_of(figure: Figure) -> pd.DataFrame:
    return numbers_of(Drawn("f", figure, "", "", ""))


def known(table: pd.DataFrame) -> list[list[Any]]:
    """Row by row, nothing for what is missing."""
    return [["" if pd.isna(value) else value for value in row] for row in table.itertuples(index=False)]


def test_a_line_with_its_band_and_a_line_to_compare_with() -> None:
    axes = Figure().add_subplot(xlabel="layer", ylabel="r")
    axes.plot([0, 1, 2], [0.1, 0.2, 0.3], color="#0072b2", label="base")
    axes.fill_between([0, 1, 2], [0.0, 0.1, 0.2], [0.2, 0.3, 0.4], color="#0072b2", alpha=0.2)
    axes.plot([0, 2], [0.5, 0.7], color="#d55e00", linestyle="--")
    axes.annotate("repaired", (2, 0.7), color="#d55e00")
    axes.axhline(0.25, label="chance")
    table = table_of(axes.figure)  # type: ignore[arg-type]
    assert list(table) == ["series", "kind", "layer", "r", "r low", "r high"]
    base = table[table["series"] == "base"]
    assert base["r low"].tolist() == [0.0, 0.1, 0.2] and base["r high"].tolist() == [0.2, 0.3, 0.4]
    assert table.loc[table["series"] == "repaired", "r"].tolist() == [0.5, 0.7]
    assert table.loc[table["kind"] == "reference", ["series", "r"]].to_numpy().tolist() == [["chance", 0.25]]


def test_points_in_categories_with_their_intervals() -> None:
    axes = Figure().add_subplot(xlabel="share closed")
    axes.hlines([0, 1], [0.1, 0.5], [0.3, 0.9], color="#1c2128")
    axes.plot([0.2], [0], "o", color="#1c2128")
    axes.plot([0.6, 0.8], [1, 1], "o", color="#1c2128")
    axes.plot([0.7, 0.7], [0.84, 1.16], color="#1c2128")  # the mean of two seeds
    axes.set_yticks([0, 1], ["readout", "rankalign"])
    table = table_of(axes.figure)  # type: ignore[arg-type]
    rows = known(table[["kind", "share closed", "share closed low", "share closed high", "category"]])
    assert rows == [
        ["point", 0.2, 0.1, 0.3, "readout"],
        ["point", 0.6, "", "", "rankalign"],
        ["point", 0.8, "", "", "rankalign"],
        ["mark", 0.7, 0.5, 0.9, "rankalign"],
    ]


def test_bars_error_bars_scatters_and_names_beside_points() -> None:
    figure = Figure()
    left, right = figure.subplots(1, 2)
    left.barh([0, 1], [3.0, 4.0], label="said")
    left.set_yticks([0, 1], ["bird", "fish"])
    left.set(xlabel="items", title="bars")
    right.errorbar([1.0, 2.0], [5.0, 6.0], yerr=[0.5, 1.0], label="with error", color="#00805e", capsize=2)
    right.scatter([3.0], [7.0], label="alone", color="#9c4f96")
    right.annotate("here", (3.0, 7.0))
    right.set(xlabel="x", ylabel="y", title="errors")
    table = table_of(figure)
    bars = table[table["kind"] == "bar"]
    bars = bars[["panel", "series", "items", "category"]].to_numpy().tolist()
    assert bars == [["bars", "said", 3.0, "bird"], ["bars", "said", 4.0, "fish"]]
    errors = table[table["series"] == "with error"]
    assert errors[["x", "y", "y low", "y high"]].to_numpy().tolist() == [[1.0, 5.0, 4.5, 5.5], [2.0, 6.0, 5.0, 7.0]]
    alone = table[table["series"] == "alone"].iloc[0]
    assert [alone["kind"], alone["x"], alone["y"], alone["text"]] == ["point", 3.0, 7.0, "here"]
    assert len(table) == 5  # no caps of error bars


def test_cells_of_a_map_with_what_is_written_in_them() -> None:
    figure = Figure()
    axes = figure.add_subplot(xlabel="validator layer", ylabel="generator layer")
    mesh = axes.imshow([[0.1, 0.2], [0.3, 0.4]], origin="lower")
    figure.colorbar(mesh, ax=axes, label="correlation r")
    axes.text(1, 0, "top")
    table = table_of(figure)
    assert table.columns.tolist() == ["kind", "validator layer", "generator layer", "correlation r", "text"]
    cells = {(row[1], row[2]): (row[3], row[4]) for row in known(table)}
    assert cells == {(0, 0): (0.1, ""), (1, 0): (0.2, "top"), (0, 1): (0.3, ""), (1, 1): (0.4, "")}


def test_seeds_and_their_mean_are_told_apart() -> None:
    axes = Figure().add_subplot(xlabel="step", ylabel="loss")
    axes.plot([0, 1], [2.0, 1.0], label="_seed 0")
    axes.plot([0, 1], [4.0, 3.0], label="_seed 1")
    axes.plot([0, 1, 2], [3.0, 2.0, 1.0])
    assert table_of(axes.figure)["series"].unique().tolist() == ["seed 0", "seed 1", "line 1"]  # type: ignore[arg-type]


# The command


def test_the_command_says_where_files_are(tmp_path: Path, unpainted: None, run_folder: Path) -> None:
    words = ["export", str(run_folder), "--to", "latex", "--out", str(tmp_path / "paper")]
    result = CliRunner().invoke(cli.app, words)
    assert (result.exit_code, result.stdout) == (0, f"7 files in {tmp_path / 'paper'}\n"), result.stderr
    assert (tmp_path / "paper" / "tables" / "gap-hypernymy-similarity.tex").is_file()
    assert CliRunner().invoke(cli.app, [*words[:2], "--to", "docx"]).exit_code == 2


def test_mistakes_are_one_clear_error(tmp_path: Path, unpainted: None, run_folder: Path) -> None:
    with pytest.raises(AccordError, match="no such run folder"):
        export(tmp_path / "nowhere")
    with pytest.raises(AccordError, match="no measured gap"):
        export(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(AccordError, match="There is a file where the export should go"):
        export(run_folder, out=tmp_path / "file")
    with pytest.raises(AccordError, match="does not take this as 'to'"):
        export(run_folder, "docx")  # type: ignore[arg-type]


def test_hostile_names_make_plain_file_names(
    tmp_path: Path, unpainted: None, gap_writer: Writer, gap_scores: Scores
) -> None:
    gap_writer(tmp_path / "gap" / "javascript:alert(1)", gap_scores(60).assign(similarity=HOSTILE), layers=False)
    paths = export(tmp_path)
    assert all(re.fullmatch(r"[a-z0-9-]+\.csv", path.name) for path in paths)
    table = pd.read_csv(tmp_path / "export" / "tables" / "gap-javascript-alert-1-similarity.csv")
    assert table["Similarity"][0] == " ".join(HOSTILE.split())


def test_files_that_an_export_did_not_write_are_kept(
    tmp_path: Path, gap_writer: Writer, gap_scores: Scores, unpainted: None
) -> None:
    gap_writer(tmp_path / "run" / "gap" / "own", gap_scores(40), layers=False)
    paper = tmp_path / "paper"
    paper.mkdir()
    (paper / "metrics.csv").write_text("mine")
    with pytest.raises(AccordError, match="not as an export of accord wrote them") as caught:
        export(tmp_path / "run", out=paper)
    assert "metrics.csv" in str(caught.value) and [path.name for path in paper.iterdir()] == ["metrics.csv"]
    assert export(tmp_path / "run", out=paper, replace=True)
    export(tmp_path / "run", out=paper)  # its own it writes again
    table = next((paper / "tables").glob("*.csv"))
    table.write_text("corrected by hand")
    with pytest.raises(AccordError, match=table.name):
        export(tmp_path / "run", out=paper)
    assert table.read_text() == "corrected by hand"
