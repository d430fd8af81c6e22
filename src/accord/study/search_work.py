"""A search as each process that works on it knows it: what its trials share, and how one is brought to its end."""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from accord import spread
from accord.errors import AccordError
from accord.progress import Progress
from accord.study import objective, store
from accord.study.config import StudyFile
from accord.study.graph import Graph, plan_study
from accord.study.run_list import begin_list, write_listed
from accord.study.search_file import SearchFile
from accord.study.stage import Stage
from accord.study.trials import Claim, Trials
from accord.study.work import Input, Models


class Teller(Protocol):
    """Who is told how a search goes on, as `accord.progress.Display` is."""

    title: str

    def say(self, line: str) -> None:
        """A line that stays."""

    def step(self, name: str) -> AbstractContextManager[Progress]:
        """A stage while it is made."""


@dataclass(frozen=True)
class Search:
    """A search before any work.

    Attributes:
        folder: of the run.
        models: of all trials.
        shared: the stages that no range touches, by name; each is made once, in the run folder.
        model: which is loaded first for what a trial needs; empty where it needs none.
        fingerprint: of all that the trials' values depend on: other than this, they cannot be compared.
        replace: whether this search may take the place of another, in the same folder.
    """

    file: SearchFile
    folder: Path
    models: Models
    shared: Mapping[str, Stage]
    model: str
    fingerprint: str
    replace: bool

    def trials(self) -> Trials:
        """Those of the run folder, which must be there."""
        return Trials(self.folder, self.file.name, self.file.section, self.file.ranges)

    def bring(
        self,
        pool: Trials,
        count: int,
        told: Teller,
        around: Callable[[int], AbstractContextManager[None]] = lambda number: nullcontext(),
    ) -> str:
        """Bring one trial to its end; what came of it, in a line, or nothing if there is none left to begin.

        Args:
            count: how many trials there shall be.
            around: entered with a trial's number while it is worked on; an AccordError of it fails the trial.
        """
        with pool.claim(count) as claim:
            if claim is None:
                return ""
            told.title = f"{self.file.name} · trial {claim.number} of {count}"
            told.say(f"trial {claim.number}: {say(claim.values)}")
            claim.folder.mkdir(exist_ok=True)
            try:
                with around(claim.number):
                    value = self._value(claim, told)
            except AccordError as error:
                for partial in claim.folder.rglob(".*.partial"):  # nobody will go on from it
                    spread.remove(partial)
                pool.finish(claim, None, str(error))
                found = f"trial {claim.number}: failed. {error}"
            else:
                pool.finish(claim, value)
                found = f"trial {claim.number}: {self.file.section.objective} = {value:.6g}"
            told.say(found)
            return found

    def make(self, stage: Stage, at: Callable[[Input], Path], told: Teller) -> None:
        """Make a stage, once whoever else is at it has left."""
        with told.step(stage.name) as progress:
            store.publish(stage, at(stage), at=at, models=self.models, progress=progress, replace=self.replace,
                          wait=True, say=told.say)  # fmt: skip

    def _value(self, claim: Claim, told: Teller) -> float:
        """Run what a trial needs, in its folder, but for what all trials share; its objective."""
        name = f"{self.file.name}-{claim.number:04}"
        write_listed(claim.folder, {store.STUDY: self.file.ready(claim.values, claim.folder, name)})
        begin_list(claim.folder, name, [store.STUDY])
        graph = plan_study(self.file.study(claim.values), fetch=True)

        def at(stage: Input) -> Path:
            same = stage.name in shared
            return ((self.folder if same else claim.folder) / stage.name).absolute()

        shared = {
            stage.name
            for stage in graph.stages
            if stage.name in self.shared and self.shared[stage.name].recipe.fingerprint == stage.recipe.fingerprint
        }
        targets = _targets(self.file, graph)
        for stage in graph.upstream(targets):
            self.make(stage, at, told)
        return objective.read(targets, self.file.section.objective, at)


def planned(
    file: SearchFile,
    folder: Path,
    models: Models,
    check: Callable[[StudyFile, Graph, list[Stage]], None],
    replace: bool,
) -> Search:
    """Plan the study with every end of its ranges, fetch all that they need, and see which stages are the same whatever
    is drawn.

    Args:
        check: is told each of these studies, its graph and the stages that the objective needs, and raises AccordError
            for what cannot be.
    """

    def stages(study: StudyFile) -> list[Stage]:
        graph = plan_study(study, fetch=True)
        needed = graph.upstream(_targets(file, graph))
        check(study, graph, needed)
        return needed

    first, *others = file.each(stages)
    prints = [{stage.name: stage.recipe.fingerprint for stage in other} for other in others]
    shared = {s.name: s for s in first if all(other.get(s.name) == s.recipe.fingerprint for other in prints)}
    section = file.section
    if len(shared) == len(first):
        where = file.where(("search", "objective"))
        raise AccordError("No range touches what the objective is made from.", where=where, got=section.objective)
    sought = {"ranges": [[span.name, span.values.model_dump()] for span in file.ranges], "objective": section.objective}
    fixed = [{**sought, "direction": section.direction}, [stage.recipe.fingerprint for stage in first]]
    digest = hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()
    model = next((stage.model for stage in first if stage.model), "")
    return Search(file, folder, models, shared, model, digest, replace)


def check_planned(file: SearchFile, check: Callable[[Graph], None]) -> None:
    """Plan the study with every end of its ranges; nothing is fetched. Raises AccordError, listing all mistakes.

    Args:
        check: is told each graph, and raises AccordError for what cannot be.
    """

    def plan(study: StudyFile) -> None:
        graph = plan_study(study)
        check(graph)
        _targets(file, graph)

    file.each(plan)


def _targets(file: SearchFile, graph: Graph) -> list[Stage]:
    """The stages that the objective is read from. Raises AccordError if the study has none."""
    return objective.target(graph.stages, file.section.objective, file.where(("search", "objective")))


def say(values: Mapping[str, Any]) -> str:
    """The values of a trial on one line.

    >>> say({"size": 16, "lr": 0.00123456})
    'size = 16, lr = 0.001235'
    """
    return ", ".join(f"{name} = {short(value)}" for name, value in values.items())


def short(value: Any) -> str:
    """A value in few digits, for tables."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
