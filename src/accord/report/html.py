"""The report of a run: one HTML file that needs no network, and no script but those that its chapters bring.

Each capability makes its own chapters, in its page.py (see `accord.report.chapter`); here they become one page.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, FunctionLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from accord.arguments import checked
from accord.capabilities import CAPABILITIES, part
from accord.disk import DiskFull, is_full, is_locked, sha256
from accord.errors import AccordError
from accord.report import header, making_page, search_page, style
from accord.report.chapter import Chapter
from accord.report.glossary import SCORES, WORDS
from accord.report.metric import plain
from accord.sealed import sealed
from accord.study.kept_plan import read_plan
from accord.study.made_from import MARK, sources
from accord.study.manifest import damaged
from accord.study.run_folder import Run, capability_of
from accord.study.run_list import list_figures, writing
from accord.study.store import REPORT
from accord.unfinished import check_finished

FIGURES = "figures"  # in the run folder
RELOAD = 15  # seconds after which the page of a run that is under way loads itself again
_TEMPLATES = Path(__file__).parent / "templates"


@checked
def write_report(run_folder: Path, *, coming: Sequence[str] | None = None) -> Path:
    """Write RUN/report.html, the page that shows a run folder (or the folder of a single gap); its path.

    Args:
        coming: of a run that is under way, the capabilities that are not done: the head of the page names them, and the
            page loads itself again until it is written without any. By default those that the run's last plan had and
            that are not whole; the page loads itself again only where another process works on the run.

    What is damaged is named in the head of the page, and nothing of it is shown.

    Raises AccordError when there is nothing in it to show, or a result cannot be read.
    """
    run = opened(run_folder)
    alive = coming is not None or is_locked(run.folder.resolve())
    coming = _not_whole(run) if coming is None else coming
    text = sealed(_page(run, rendered(run, needed=not (alive and coming)), coming, alive))
    target, aside = run.folder / REPORT, run.folder / f".{REPORT}.partial"
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(target)
    except OSError as error:
        aside.unlink(missing_ok=True)
        if is_full(error):
            raise DiskFull(target, len(text.encode())) from error
        raise AccordError("The report cannot be written.", where=target, got=error) from error
    return target


@checked
def write_figures(run_folder: Path) -> list[Path]:
    """Draw what a run's capabilities draw of it into RUN/figures, each as .svg and .png; the files written."""
    run = opened(run_folder)
    paths: list[Path] = []
    for capability in CAPABILITIES:
        figures = getattr(part(capability, "page"), "figures", None)
        if figures is not None:
            with style.house_style():
                for picture in figures(run):
                    (run.folder / FIGURES).mkdir(exist_ok=True)
                    paths += _save_listed(picture.figure, run.folder, picture.name)
    list_figures(run.folder, sources(run))
    return paths


def _save_listed(figure: Figure, run: Path, name: str) -> list[Path]:
    """Write a figure of a run, so that it is as the run's list says whenever this is stopped."""
    with ExitStack() as listed, style.saved(figure, run / FIGURES / name) as files:
        hashes = {path.relative_to(run).as_posix(): sha256(beside) for path, beside in files.items()}
        listed.enter_context(writing(run, hashes))  # ends last, once the files are in their place
    return list(files)


def opened(folder: Path) -> Run:
    """A run folder, or the folder of a single stage, whose stages are verified; AccordError if there is none."""
    if not Path(folder).is_dir():
        check_finished(folder)
        fix = "give the folder that `accord run` made"
        raise AccordError("There is no such run folder.", where=folder, fix=fix)
    return Run(Path(folder), verified=True)


def rendered(run: Run, *, needed: bool = True) -> list[tuple[Chapter, Markup]]:
    """The chapters of a run's page in their order, each with its HTML.

    Raises AccordError when there is nothing to show and that is `needed`, or a result cannot be read.
    """
    chapters, environment = list(_chapters(run)), _environment()
    if not chapters and needed and run.damaged:
        name, what = next(iter(run.damaged.items()))
        raise damaged(run.folder / name, what)
    if not chapters and needed:
        raise AccordError(
            "This folder holds no measured gap.",
            where=run.folder,
            wanted="gap/<name>/scores.parquet inside it, or scores.parquet itself",
            fix="run `accord run STUDY.toml` or `accord gap --out DIR` first",
        )
    alone, above = len(chapters) == 1, _above(chapters)
    chapters += making_page.chapters(run) if chapters else []  # by itself it is nothing to show
    templates = [environment.get_template(str(chapter.template)) for chapter in chapters]
    return [
        (chapter, Markup(template.render(chapter=chapter, shown=chapter.shown, alone=alone, above=above)))
        for chapter, template in zip(chapters, templates, strict=True)
    ]


def _chapters(run: Run) -> Iterator[Chapter]:
    """What the study was for comes first, else all in the order of the capabilities, the search at the end."""
    pages = [page for capability in CAPABILITIES if (page := part(capability, "page")) is not None]
    makers: list[Callable[[Run], list[Chapter]]] = [
        *(page.chapters for page in pages if hasattr(page, "chapters")),  # others are parts of another's chapter
        search_page.chapters,
    ]
    yield from sorted((chapter for make in makers for chapter in make(run)), key=lambda chapter: not chapter.leads)


def _leading(chapters: Sequence[Chapter]) -> Chapter | None:
    """The chapter whose first finding the page begins with."""
    return next((chapter for chapter in chapters if chapter.findings), None)


def _above(chapters: Sequence[Chapter]) -> str:
    """The id of the figure on the first screen; empty where there is none."""
    leading = _leading(chapters)
    picture = leading.answer.picture if leading is not None and leading.answer is not None else None
    return "" if picture is None else str(picture["id"])


def _parts(body: str) -> list[tuple[str, Markup]]:
    """The parts of a chapter, for the list of contents: id and heading of each."""
    headings = re.findall(r'<h3 id="([^"]+)">(.*?)</h3>', body)
    return [(key, Markup(re.sub(r"<small>.*?</small>", "", words).strip())) for key, words in headings]


def _environment() -> Environment:
    return Environment(
        # A chapter's template is named by its whole path, and finds the macros of the page by their names.
        loader=ChoiceLoader([FileSystemLoader(_TEMPLATES), FunctionLoader(_beside)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _not_whole(run: Run) -> list[str]:
    """The capabilities that the last plan of a run had, and that are not whole in it."""
    plan = read_plan(run.folder)
    prints = {name: manifest["fingerprint"] for name, manifest in run.manifests.items()}
    missing = [name for name, of in (plan.stages if plan else {}).items() if prints.get(name) != of]
    return list(dict.fromkeys(capability_of(name.partition("/")[0]) for name in missing))


def _page(run: Run, bodies: Sequence[tuple[Chapter, Markup]], coming: Sequence[str], alive: bool) -> str:
    chapters = [chapter for chapter, _ in bodies]
    leading = _leading(chapters)
    fold = (_TEMPLATES / "fold.js").read_text(encoding="utf-8")
    scripts = dict.fromkeys([fold, *(chapter.script for chapter in chapters if chapter.script)])
    terms = {term.place: term for chapter in chapters for term in chapter.terms if term.place}
    telling = {chapter.capability for chapter in chapters if chapter.findings}
    page = (
        _environment()
        .get_template("report.html")
        .render(
            title=plain(run.name),
            headline=plain(leading.findings[0].headline) if leading is not None else "",
            models=header.models(run),
            tasks=header.tasks(run),
            date=header.date(run),
            precision=header.precision(run),
            coming=[plain(name) for name in coming],
            alive=alive,
            outdated=[plain(name) for name in run.outdated],
            damaged=[plain(f"{name} ({what})") for name, what in run.damaged.items()],
            mark=Markup(MARK.format(sources=sources(run))),
            stages=len(run.manifests),
            written=datetime.now().astimezone().strftime("%H:%M"),
            reload_after=RELOAD,
            study_file=run.study,
            chapters=bodies,
            leading=leading,
            contents=[(chapter, _parts(body)) for chapter, body in bodies],
            words=WORDS,
            scores=SCORES,
            terms=sorted(terms.values(), key=lambda term: term.label.casefold()),
            measured={chapter.capability for chapter in chapters},
            brackets=[chapter.brackets for chapter in chapters if chapter.brackets and chapter.findings],
            over_seeds="concepts" in telling,
            alone=sum(chapter.key != making_page.KEY for chapter in chapters) == 1,
            scripts=[Markup(script) for script in scripts],
            policies=[Markup(_digest(script)) for script in scripts],
            css=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
            version=_version(),
        )
    )
    return page + "\n"


def _beside(name: str) -> tuple[str, str, Callable[[], bool]] | None:
    """The template of a chapter, as Jinja's loaders give it."""
    path = Path(name)
    return (path.read_text(encoding="utf-8"), name, lambda: True) if path.is_absolute() and path.is_file() else None


def _digest(script: str) -> str:
    """A script as the page's policy names it: no other may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _version() -> str:
    try:
        return version("accord")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return ""
