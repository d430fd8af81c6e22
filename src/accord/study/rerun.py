"""A stage of two runs made again with this installation: whose record is reproduced, and what that says."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from accord.errors import AccordError
from accord.intervals import Interval
from accord.progress import Display
from accord.study.config import StudyFile, load
from accord.study.difference import RunDifference, StagePair, diff, measures
from accord.study.graph import plan_study
from accord.study.run_folder import Run
from accord.study.stage import Stage
from accord.study.store import STUDY, publish
from accord.study.work import Models


@dataclass(frozen=True)
class Remade:
    """A stage of one run, as it is recorded and as it was made again here.

    Attributes:
        stage: its name in the run.
        difference: between both; how the recipe differs tells what of the study can no longer be had as it was.
    """

    stage: str
    recorded: Mapping[str, Interval]
    again: Mapping[str, Interval]
    difference: StagePair

    @property
    def reproduced(self) -> bool:
        """Whether all its metrics came out as recorded, but for rounding; without metrics, its files."""
        return not (self.difference.metrics if self.recorded else self.difference.files)


@dataclass(frozen=True)
class Rerun:
    """A stage of two runs, made again both ways.

    Attributes:
        between: what differs between the two that were made again.
    """

    first: Remade
    second: Remade
    between: StagePair

    @property
    def equal(self) -> bool:
        """Whether both came out alike."""
        return not (self.between.metrics if self.first.recorded else self.between.files)


def rerun(difference: RunDifference, stage: StagePair, display: Display | None = None) -> Rerun:
    """Make a stage of two runs again, each by its run's own study from its run's own inputs, in a passing folder.

    Args:
        difference: of the two runs.
        stage: one of its pairs, such as `difference.suspect`.
        display: shows how far it is.

    >>> difference = accord.diff("runs/monday", "runs/tuesday")  # doctest: +SKIP
    >>> rerun(difference, difference.suspect).first.reproduced  # doctest: +SKIP

    Raises AccordError if a run keeps no study, its study does not make this stage, or an input of it is gone; and
    whatever making it raises.
    """
    runs, names = (Run(difference.first), Run(difference.second)), (stage.first, stage.second)
    planned = [_planned(run, name) for run, name in zip(runs, names, strict=True)]
    models = Models(None if display is None else display.doing)
    with TemporaryDirectory() as passing:
        folders = [Path(passing) / side / node.kind for side, node in zip(("first", "second"), planned, strict=True)]
        sides = zip(runs, planned, folders, strict=True)
        first, second = (_remade(run, node, folder, models, display) for run, node, folder in sides)
        return Rerun(first, second, diff(*folders).pairs[0])


def _remade(run: Run, stage: Stage, folder: Path, models: Models, display: Display | None) -> Remade:
    with nullcontext() if display is None else display.step(f"{run.folder.name}: {stage.name}") as progress:
        publish(stage, folder, models=models, at=lambda other: run.folder.absolute() / other.name, progress=progress)
    recorded = run.place(stage.name)
    numbers, again = measures(stage.kind, recorded), measures(stage.kind, folder)
    return Remade(stage.name, numbers, again, diff(recorded, folder).pairs[0])


def check_studies(difference: RunDifference) -> None:
    """AccordError unless both runs keep the study that made them."""
    for folder in (difference.first, difference.second):
        if not (folder / STUDY).is_file():
            wanted = f"a run folder of accord run, which holds {STUDY}"
            fix = "leave out --rerun"
            raise AccordError("This run keeps no study to make a stage by.", where=folder, wanted=wanted, fix=fix)


def _planned(run: Run, name: str) -> Stage:
    """The stage as the run's study plans it here."""
    file = kept_study(run)
    try:
        graph = plan_study(file, fetch=True)
    except AccordError as error:
        problem, fix = "The study of this run cannot be planned here.", "run this in the folder where the study was run"
        raise AccordError(problem, where=file.path, got=error, fix=fix) from error
    stage = next((stage for stage in graph.stages if stage.name == name), None)
    if stage is None:
        raise AccordError("The study of this run makes no such stage.", where=run.folder / STUDY, got=name)
    for source in stage.inputs.values():
        if not (run.folder / source.name).is_dir():
            raise AccordError("What this stage is made from is not there.", where=run.folder / source.name, got=name,
                              fix="run the study again: accord run STUDY.toml")  # fmt: skip
    return stage


def kept_study(run: Run) -> StudyFile:
    """The study that the run keeps. Paths in it are relative to the file that it is a copy of, if that is there."""
    file = load(run.folder / STUDY)
    for manifest in run.manifests.values():
        for word in str(manifest.get("command", "")).split():
            path = Path(word.strip("'"))
            if path.suffix == ".toml" and path.is_file() and path.read_bytes() == file.text.encode():
                return replace(file, path=path.absolute())
    return file
