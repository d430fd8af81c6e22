"""What a run has to make, by whatever engine: a stage as it stands in the run folder, and what is told of all."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rich.console import Console

from accord.progress import Display, Progress, clock
from accord.study import costs, store
from accord.study.check import stage_folders
from accord.study.config import StudyFile
from accord.study.graph import TO_DO, Graph, why
from accord.study.run_folder import capability_of, result_types
from accord.study.run_progress import PROGRESS
from accord.study.stage import Stage
from accord.study.work import Input, Models

_PAGE_SHARE = 80  # a page that took a second is not written again for so many


@dataclass(frozen=True, eq=False)
class ToMake:
    """The stages of a study that are to be made in its run folder.

    Attributes:
        asked: the stages that the folder shall have in the end, in their order.
        todo: those of them that are not up to date.
        page: whether there is a page of it, which grows as stages are made.
    """

    file: StudyFile
    graph: Graph
    asked: Sequence[Stage]
    todo: Sequence[Stage]
    folder: Path
    page: bool

    @cached_property
    def expected(self) -> dict[str, float]:
        """Name of a stage that is to do -> seconds that it is expected to take."""
        return {stage.name: costs.expected(stage) for stage in self.todo}

    @contextmanager
    def display(self, console: Console) -> Iterator[Display]:
        """What tells how it goes; what there is to do and why is told first."""
        title, seconds = self.file.study.name, sum(self.expected.values())
        with Display(title, self.expected, console=console, note=self.folder / PROGRESS) as display:
            display.say(f"{title}: {_counted(len(self.todo), len(self.asked), seconds)}")
            for stage in self.todo:
                if (reason := why(stage, self.folder / stage.name)) != TO_DO:
                    display.say(f"{stage.name}: {reason}")
            for line in _left_over(self.graph, self.folder):
                display.say(line)
            yield display

    def clear(self, stage: Stage, say: Callable[[str], None]) -> None:
        """End a swap that was cut at a stage that is up to date, and remove what an interrupted making of it with other
        settings left.
        """
        if store.is_cut_short(self.folder / stage.name):
            make(stage, self.folder, Models(), say=say)


class GrowingPage:
    """The page of a run, written whenever a capability has all of its stages, and not too often."""

    def __init__(self, what: ToMake) -> None:
        self._what = what
        self._of = {stage.name: capability_of(stage.kind) for stage in what.todo}
        self._left = Counter(self._of.values())  # in their order
        self._written, self._took = -math.inf, 0.0  # when, and in how many seconds

    def is_due(self, stage: Stage) -> bool:
        """Whether to write it now that a stage has been made; each stage is told once, in whatever order."""
        own = self._of.pop(stage.name)
        self._left[own] -= 1
        if self._left[own] or not self._of or not self._what.page:
            return False
        return time.monotonic() - self._written >= _PAGE_SHARE * self._took

    @property
    def coming(self) -> list[str]:
        """The capabilities that have stages to come, in their order."""
        return [capability for capability, stages in self._left.items() if stages]

    def write(self, coming: Sequence[str]) -> None:
        """Write it as far as it is; these capabilities have stages to come."""
        from accord.report import write_report

        begun = time.monotonic()
        write_report(self._what.folder, coming=coming)
        self._written, self._took = time.monotonic(), time.monotonic() - begun


def make(
    stage: Stage,
    folder: Path,
    models: Models,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> bool:
    """Make a stage of a run folder, all of whose inputs are there; False if it is up to date.

    What it took is kept for the next run (`accord.study.costs`). `say`: see `publish`.
    """

    def at(other: Input) -> Path:
        return folder.absolute() / other.name

    # What would be replaced unasked was refused before, see `accord.study.engine.check_replaced`.
    new = store.publish(stage, at(stage), at=at, models=models, progress=progress, replace=True, say=say)
    if new:
        costs.note_made([stage], folder)
    return new


def headline_of(stage: Stage, folder: Path) -> str:
    """What a stage of a run folder found, in a few words."""
    result = result_types().get(stage.kind)
    if result is None or not hasattr(result, "headline"):
        return ""
    return str(result.read(folder / stage.name).headline())


def _counted(todo: int, asked: int, seconds: float) -> str:
    if not todo:
        return f"all {asked} stages are up to date"
    rest = f", {asked - todo} up to date" if todo < asked else ""
    return f"{todo} of {asked} stages to do{rest}" + (f", about {clock(seconds)}" if seconds >= 1 else "")


def _left_over(graph: Graph, folder: Path) -> Iterator[str]:
    """The results in a run folder that the study no longer asks for, a line each."""
    if folder.is_dir():
        planned = {folder / stage.name for stage in graph.stages}
        for left in stage_folders(folder):
            if left not in planned:
                yield f"{left.relative_to(folder)}: no longer in the study, left as it is"
