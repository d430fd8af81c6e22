"""The graph of a study: its stages and what each is made from; what is up to date, what is to do, and why."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from accord.capabilities import parts
from accord.errors import AccordError
from accord.study import store
from accord.study.config import StudyFile, together
from accord.study.manifest import read_manifest
from accord.study.plan import Plan
from accord.study.replaced import MadeOtherwise, in_words
from accord.study.run_folder import result_types
from accord.study.stage import Stage, nearest_stage
from accord.tasks.config import QuestionSection


@dataclass(frozen=True)
class Graph:
    """A checked study.

    Attributes:
        stages: in the order they run.
        missing: what must be fetched before the first of them: name -> what it is.
        downloads: see `Plan`.
        least: bytes of memory that the backbone takes, without which nothing is made.
        notes: what the user should know of the data files, a line each.
    """

    stages: Sequence[Stage]
    missing: Mapping[str, str]
    notes: Sequence[str] = ()
    downloads: Mapping[str, Callable[[], tuple[int, Path]]] = field(default_factory=dict)
    least: Callable[[], int] = int

    def upstream(self, stages: Sequence[Stage]) -> list[Stage]:
        """Of all stages, in their order, these and what they are made from."""
        needed = {id(source) for stage in stages for source in stage.upstream()}
        return [stage for stage in self.stages if id(stage) in needed]

    def chosen(self, names: Sequence[str]) -> list[Stage]:
        """Of all stages, in their order, those of these kinds ("damage") or names ("damage/readout-s0"), and what they
        are made from; all, if there are no names.

        Raises AccordError for a name of no stage and no kind, and where the study has none of those.
        """
        if not names:
            return list(self.stages)
        kinds = dict.fromkeys(stage.kind for stage in self.stages)
        known = {*kinds, *(stage.name for stage in self.stages), *result_types()}
        for name in names:
            if name not in known:
                wanted = nearest_stage(name, [stage.name for stage in self.stages])
                raise AccordError("This study makes no such stage.", got=repr(name), wanted=wanted)
        stages = [stage for stage in self.stages if {stage.kind, stage.name} & set(names)]
        if not stages:
            raise AccordError(f"This study makes no {' and no '.join(names)}.", wanted=f"one of: {', '.join(kinds)}")
        return self.upstream(stages)


def plan_study(file: StudyFile, *, fetch: bool = False, kept: dict[str, Any] | None = None) -> Graph:
    """Plan a study: build its tasks, look at its data, and see what is made from what. No weights are loaded.

    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> from accord import study
    >>> study.write_template(path := Path(mkdtemp()) / "study.toml")
    >>> [stage.name for stage in plan_study(study.load(path)).stages]
    ['gap/hypernymy']

    Args:
        fetch: bring models, texts and dictionaries onto this machine; else what is not here is listed as `missing`,
            and stages that depend on it count as to do.
        kept: the tasks that are built are put here, and those of an earlier planning of the same file are taken from
            here.

    Raises AccordError, listing every problem with its line, or for what cannot be fetched.
    """
    plan = Plan(file, fetch=fetch, kept=kept)
    stages: list[Stage] = []
    with plan.at("backbone", section=file.study.backbone):
        plan.named(plan.backbone)
    if len(set(file.study.seeds)) < len(file.study.seeds):
        plan.problem(AccordError("A seed is given twice.", got=file.study.seeds), "seeds")
    for name, custom in file.study.tasks.items():
        plan.unsound.add(name)
        with plan.at("tasks", name, section=custom):
            plan.task(QuestionSection(task=name), split="all")
            plan.unsound.discard(name)
    for module in parts("stage"):
        with plan.at():
            stages += module.stages(plan)
    if not stages and not plan.problems:
        wanted = "a [[gap]] or [[repair]] section, or [text] and [[concepts]]"
        raise AccordError("The study asks for nothing.", where=file.path, wanted=wanted)
    if plan.problems:
        raise together(list(plan.problems.values()), file.path)
    return Graph(
        list(in_order(stages)), plan.missing, list(plan.notes), plan.downloads, lambda: plan.weights(plan.backbone)
    )


def in_order(stages: Sequence[Stage]) -> Iterator[Stage]:
    """Each stage after those that it is made from, else as they are given.

    Raises AssertionError if two stages have the same folder, or an input is none of them.
    """
    place = {stage.name: i for i, stage in enumerate(stages)}
    assert len(place) == len(stages), "two stages with the same folder"
    names = {stage.name: [made_from.name for made_from in stage.inputs.values()] for stage in stages}
    lacking = {name for inputs in names.values() for name in inputs} - place.keys()
    assert not lacking, f"no capability gives {', '.join(lacking)}, which others are made from"
    sorter = TopologicalSorter({place[name]: [place[one] for one in inputs] for name, inputs in names.items()})
    sorter.prepare()
    ready: list[int] = []
    while sorter.is_active():
        for number in sorter.get_ready():
            heappush(ready, number)
        number = heappop(ready)
        yield stages[number]
        sorter.done(number)


def why(stage: Stage, folder: Path, most: int | None = 3) -> str:
    """Whether a stage's folder is up to date, else what there is to do and why, in words; at most so many reasons."""
    state = store.state(folder, stage.recipe)
    if state != "other":
        return _STATES.get(state, TO_DO)
    manifest = read_manifest(folder)
    assert manifest is not None  # see store.state
    return f"{in_words(manifest, stage.recipe, most)} changed, to do again"


def made_otherwise(stages: Sequence[Stage], folder: Path) -> list[MadeOtherwise]:
    """The whole results of other settings in a run folder that these stages would replace.

    Raises AccordError if something is in a stage's place that accord did not write.
    """
    found = []
    for stage in stages:
        state = store.state(folder / stage.name, stage.recipe)
        if state == "foreign":
            raise store.foreign(folder / stage.name)
        if state == "other":
            found.append(store.made_otherwise(stage, folder / stage.name))
    return found


def to_be_made(stages: Sequence[Stage], folder: Path) -> list[Stage]:
    """The stages that are not up to date in a run folder."""
    return [stage for stage in stages if store.state(folder / stage.name, stage.recipe) != "whole"]


UP_TO_DATE, TO_DO = "up to date", "to do"
_STATES: Mapping[str, str] = {
    "whole": UP_TO_DATE,
    "unfinished": "something is missing, to go on",
    "damaged": "files gone or changed, to do again",
    "foreign": "there is something that accord did not write",
}
