"""The report of a run: one HTML file that needs no network, and no script but the one that searches its concepts.

A section of the page is a template and what it shows; `SECTIONS` lists who makes them. A new room adds a function
there and a template beside `gap.html`.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from accord.arguments import checked
from accord.errors import AccordError
from accord.report.concepts_data import holds_line, read_line
from accord.report.concepts_page import concepts_shown, perplexity_shown
from accord.report.data import Gap, called, gap_folders, manifests, plain, read_gap
from accord.report.gap_page import flat, gap_section, overview_row
from accord.report.glossary import FILES
from accord.report.meaning_pages import holds_meaning, meaning_pages
from accord.report.names_page import script
from accord.report.repair_data import holds_repairs
from accord.report.repair_page import repair_pages
from accord.report.search_data import holds_search, read_search
from accord.report.search_page import search_shown
from accord.report.verdict import what_counts

REPORT = "report.html"
FIGURE_BUDGET = 3_500_000  # bytes; from there on, further sections show only their first figure
_TEMPLATES = Path(__file__).parent / "templates"
_BRACKETS = {"names": "of names over concepts", "explain": "of the explanation over items or random sets of concepts"}


@dataclass(frozen=True)
class Section:
    """One part of the page: the template that shows it, and the words and pictures it shows."""

    key: str
    title: str
    template: str
    shown: dict[str, Any]
    folded: bool = False

    @property
    def over_seeds(self) -> bool:
        """Whether its findings have intervals over seeds in brackets."""
        return self.key == "concepts" and self.findings_count > 0

    @property
    def brackets(self) -> str:
        """Whose intervals it has in its findings, and over what; nothing where others tell."""
        return _BRACKETS.get(self.key, "") if self.findings_count else ""

    @property
    def findings_count(self) -> int:
        """How many sentences it adds to the findings at the top (those of the gaps are counted by gap)."""
        return len(self.shown.get("findings", ()))


@checked
def write_report(run_folder: Path) -> Path:
    """Write RUN/report.html, the page that shows a run folder (or a single gap folder); its path.

    Raises AccordError when there is neither a repair nor a measured gap nor a concept model nor a search in it, or a
    file lacks what the page needs.
    """
    run = Path(run_folder)
    gaps = [read_gap(folder) for folder in _gap_folders(run)]
    text = _render(run, gaps)
    target, aside = run / REPORT, run / f".{REPORT}.partial"
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(target)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise AccordError("The report cannot be written.", where=target, got=error) from error
    return target


def _gap_folders(run: Path) -> list[Path]:
    """The gap folders; a run may do without where it has repairs, concepts, texts or trials to show."""
    try:
        return gap_folders(run)
    except AccordError:
        if holds_repairs(run) or holds_line(run) or holds_meaning(run) or holds_search(run):
            return []
        raise


def gap_sections(run: Path, gaps: Sequence[Gap]) -> list[Section]:
    """A section a measured gap."""
    sections, spent = [], 0
    for i, gap in enumerate(gaps):
        key = f"gap-{i + 1}"
        shown = gap_section(gap, key, light=spent > FIGURE_BUDGET) | _provenance(run, gap)
        spent += sum(len(f["svg"]) for f in [*shown["figures"], shown["categories"] or {"svg": ""}])
        sections.append(Section(key, gap.name, "gap.html", shown, folded=i > 0))
    return sections


def line_sections(run: Path, gaps: Sequence[Gap]) -> list[Section]:
    """Concept models, what their concepts mean and do, then their heads' texts; those that the run has."""
    line = read_line(run)
    sections = []
    if line.concepts or line.corpus or line.left_out:
        shown = concepts_shown(line, run, "concepts")
        sections.append(Section("concepts", "Concept models", "concepts.html", shown))
    sections += [Section(*page) for page in meaning_pages(run)]
    if line.heads or line.perplexity or line.texts:
        shown = perplexity_shown(line, run, "perplexity")
        sections.append(Section("perplexity", "Heads and their texts", "perplexity.html", shown))
    return sections


def search_sections(run: Path, gaps: Sequence[Gap]) -> list[Section]:
    """The trials of a search, where the run is one."""
    if not holds_search(run):
        return []
    return [Section("search", "Search", "search.html", search_shown(read_search(run), run, "search"))]


def repair_sections(run: Path, gaps: Sequence[Gap]) -> list[Section]:
    """A section for each base and task that was repaired: what the study was for comes first."""
    return [Section(key, title, "repair.html", shown) for key, title, shown in repair_pages(run)]


SECTIONS: tuple[Callable[[Path, Sequence[Gap]], list[Section]], ...] = (
    repair_sections,
    gap_sections,
    line_sections,
    search_sections,
)


def _render(run: Path, gaps: Sequence[Gap]) -> str:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    study, source = _study(run)
    sections = [section for make in SECTIONS for section in make(run, gaps)]
    code, digest = script() if any(section.key == "names" for section in sections) else ("", "")
    backbones = [called(one.get("settings", {}).get("model")) for one in manifests(run, "embeddings")]
    page = environment.get_template("report.html").render(
        title=study,
        models=list(dict.fromkeys([*filter(None, backbones), *(gap.model for gap in gaps)])),
        tasks=list(dict.fromkeys(gap.task for gap in gaps)),
        date=_date([*(gap.manifest for gap in gaps), *manifests(run)]),
        study_file=source,
        overview=[overview_row(gap, f"gap-{i + 1}") for i, gap in enumerate(gaps)],
        sections=sections,
        script=code,
        script_hash=digest,
        css=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
        version=_version(),
    )
    return page + "\n"


def _study(run: Path) -> tuple[str, str]:
    """The study's name (or the folder's) and the text of the study file (or nothing)."""
    path = run / "study.toml"
    name = plain(run.resolve().name)
    if not path.is_file():
        return name, ""
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        return plain(str(tomllib.loads(text).get("name", name))), text
    except (ValueError, RecursionError):  # the run is measured all the same; the page shows the file as it is
        return name, text


def _date(manifests: Sequence[Mapping[str, Any]]) -> str:
    """The day on which the last stage ended, or nothing."""
    ends = [str(manifest.get("finished", "")) for manifest in manifests]
    last = max(ends, default="")
    return last[:10] if re.match(r"\d{4}-\d{2}-\d{2}", last) else ""


def _provenance(run: Path, gap: Gap) -> dict[str, Any]:
    """How the numbers came to be: settings, versions, command, files."""
    versions = gap.manifest.get("versions", {})
    return {
        "settings": [*flat(gap.settings), *([("generator score", told)] if (told := what_counts(gap)) else [])],
        "seed": gap.manifest.get("seed"),
        "versions": list(flat(versions if isinstance(versions, dict) else {"versions": versions})),
        "command": str(gap.manifest.get("command", "")),
        "started": str(gap.manifest.get("started", "")),
        "finished": str(gap.manifest.get("finished", "")),
        "manifest": bool(gap.manifest),
        "files": _files(run, gap),
    }


def _files(run: Path, gap: Gap) -> list[dict[str, Any]]:
    """The stage's files, a line each; those that differ only in their ending (a figure's) share one."""
    paths = [p for p in gap.path.rglob("*") if p.is_file() and not p.name.startswith(".") and p.name != REPORT]
    lines = []
    for _, same in groupby(sorted(paths, key=str), key=lambda p: p.with_suffix("")):
        kinds = list(same)
        shown = [kinds[0].relative_to(run).as_posix(), *(kind.suffix for kind in kinds[1:])]
        lines.append(
            {
                "links": [{"text": t, "href": _href(p, run)} for t, p in zip(shown, kinds, strict=True)],
                "what": FILES.get(kinds[0].name, ""),
                "size": _size(sum(kind.stat().st_size for kind in kinds)),
            }
        )
    return sorted(lines, key=lambda line: not line["what"])


def _href(path: Path, run: Path) -> str:
    return "./" + quote(path.relative_to(run).as_posix())  # "./": a name with a colon must not become a scheme


def _size(size: int) -> str:
    if size >= 1e6:
        return f"{size / 1e6:.1f} MB"
    return f"{size / 1e3:.0f} kB" if size >= 1e3 else f"{size} B"


def _version() -> str:
    try:
        return version("accord")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return ""
