"""A run folder as it is read: its stages by name, each result in the type that wrote it."""

import tomllib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from accord.arguments import checked
from accord.capabilities import CAPABILITIES, part, parts
from accord.errors import AccordError, nearest
from accord.study.kept_plan import read_plan
from accord.study.manifest import MANIFEST, checked_manifest, damaged, fault, is_cut, open_manifest
from accord.study.run_list import LIST, kept_list, read_list
from accord.study.store import STUDY
from accord.unfinished import check_finished

R = TypeVar("R")


def result_types() -> dict[str, type[Any]]:
    """Kind of stage -> the type of its result."""
    types: dict[str, type[Any]] = {}
    for module in parts("result"):
        types |= module.RESULTS
    return types


def capability_of(kind: str) -> str:
    """The capability that a kind of stage belongs to: "verdict" of "answers"."""
    for capability in CAPABILITIES:
        if kind in getattr(part(capability, "result"), "RESULTS", {}):
            return capability.rpartition(".")[2]
    return kind


class Run(Mapping[str, Any]):
    """The whole stages of a run folder by name; a result is read when it is first asked for.

    The folder of a single stage, such as `accord gap --out` makes, is a run of that stage, by the folder's name. A
    stage whose files are not as they were written is never read: asking for it raises AccordError.

    >>> run = accord.read("runs/demo")  # doctest: +SKIP
    >>> run["gap/hypernymy"].metrics["pearson_all"]  # doctest: +SKIP
    """

    def __init__(self, folder: Path, *, verified: bool = False) -> None:
        """With `verified`, stages with damaged files count as damaged from the start; else once they are asked for."""
        self.folder, self.verified = folder, verified
        self._read: dict[str, Any] = {}

    @property
    def manifests(self) -> Mapping[str, dict[str, Any]]:
        """Name of a stage -> what it says of itself: in the order of the study, then in which others were begun."""
        return self._opened[0]

    @property
    def damaged(self) -> Mapping[str, str]:
        """What is damaged: name of a stage, or of a file beside the stages -> what is wrong with it, in a few words."""
        return self._opened[1]

    @cached_property
    def _opened(self) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        if (self.folder / MANIFEST).is_file():
            manifest = checked_manifest(self.folder) if self.verified else open_manifest(self.folder)
            return {f"{manifest['stage']}/{self.folder.resolve().name}": manifest}, {}
        manifests: dict[str, dict[str, Any]] = {}
        wrong = dict(self._beside())
        for name in self._names():
            place = self.folder / name
            try:
                manifests[name] = checked_manifest(place) if self.verified else open_manifest(place)
                if what := misplaced(name, manifests[name]):
                    raise damaged(place, what)
            except AccordError as error:
                manifests.pop(name, None)
                wrong[name] = str(error.got)
        return {name: manifests[name] for name in _in_order(manifests, self.folder)}, wrong

    def _names(self) -> list[str]:
        """The stages that are there, and those that the run lists."""
        paths = [*self.folder.glob(f"*/{MANIFEST}"), *self.folder.glob(f"*/*/{MANIFEST}")]
        names = {path.parent.relative_to(self.folder).as_posix() for path in paths}
        there = {name for name in names if not any(part.startswith(".") for part in name.split("/"))}  # not being made
        listed = kept_list(self.folder).stages.items()
        return sorted(there | {name for name, digest in listed if not is_cut(self.folder / name, digest)})

    def _beside(self) -> Iterator[tuple[str, str]]:
        """The files beside the stages that are damaged. Figures are drawn anew instead."""
        try:
            listed = read_list(self.folder)
        except AccordError:
            yield LIST, "changed"
            return
        if listed is not None:
            yield from ((name, what) for name, what in listed.faults(self.folder) if "/" not in name)

    @cached_property
    def outdated(self) -> list[str]:
        """The stages that were made from other results than those that are in the folder now, in their order."""
        prints = {name: manifest["fingerprint"] for name, manifest in self.manifests.items()}
        old: list[str] = []
        for name, manifest in self.manifests.items():
            inputs = manifest.get("inputs", {}).values()
            if any(prints.get(of["stage"], of["fingerprint"]) != of["fingerprint"] for of in inputs):
                old.append(name)
        return old

    def __iter__(self) -> Iterator[str]:
        return iter(self.manifests)

    def __len__(self) -> int:
        return len(self.manifests)

    def __contains__(self, name: object) -> bool:
        return name in self.manifests

    def __getitem__(self, name: str) -> Any:
        if name in self.damaged:
            raise damaged(self.place(name), self.damaged[name])
        if name not in self.manifests:
            raise AccordError("There is no such stage in this run.", where=self.folder, got=repr(name),
                              wanted=nearest(name, self.manifests))  # fmt: skip
        if name not in self._read:
            self._read[name] = self._result(name)
        return self._read[name]

    def __repr__(self) -> str:
        wrong = (f"  {name}: damaged ({what})" for name, what in self.damaged.items())
        return "\n".join([f"run {self.folder}", *(f"  {name}" for name in self), *wrong])

    def place(self, name: str) -> Path:
        """The folder of a stage."""
        return self.folder if (self.folder / MANIFEST).is_file() else self.folder / name

    def of(self, result: type[R]) -> dict[str, R]:
        """The results of one type by their labels: `run.of(Gap)["hypernymy"]`."""
        kinds = [kind for kind, of in result_types().items() if of is result]
        names = [name for name, manifest in self.manifests.items() if manifest["stage"] in kinds]
        return {name.partition("/")[2]: self[name] for name in names}

    @property
    def study(self) -> str:
        """The text of the study that made it; empty where there is none, or it was changed since."""
        path = self.folder / STUDY
        if STUDY in self.damaged:
            return ""
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    @property
    def name(self) -> str:
        """The study's, or else the folder's."""
        try:
            return str(tomllib.loads(self.study).get("name", self.folder.resolve().name))
        except (ValueError, RecursionError):  # the run is whole all the same
            return self.folder.resolve().name

    def _result(self, name: str) -> Any:
        manifest, types = self.manifests[name], result_types()
        if not self.verified and (what := fault(self.place(name), manifest)) is not None:
            raise damaged(self.place(name), what)
        if manifest["stage"] not in types:
            raise AccordError("This stage is of a kind that accord does not know.", where=self.place(name),
                              got=manifest["stage"], wanted=", ".join(types))  # fmt: skip
        try:
            return types[manifest["stage"]].read(self.place(name))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise AccordError(
                "This result cannot be read.",
                where=self.place(name),
                got=f"{type(error).__name__}: {error}",
                fix="see what is damaged: accord check; then run the study again",
            ) from error


def _in_order(manifests: Mapping[str, dict[str, Any]], folder: Path) -> list[str]:
    """Names of stages, the study's in its order: what is told and drawn does not depend on when each was made."""
    plan = read_plan(folder)
    place = {} if plan is None else {name: i for i, name in enumerate(plan.stages)}

    def above(name: str, seen: frozenset[str] = frozenset()) -> int:
        """How many stages are made one after the other before it: of two in one second, the first is first."""
        inputs = [source["stage"] for source in manifests[name].get("inputs", {}).values()]
        below = [source for source in inputs if source in manifests and source not in seen]
        return max((above(source, seen | {name}) + 1 for source in below), default=0)

    def key(name: str) -> tuple[int, str, int, str]:
        return (
            place.get(name, len(place)),
            "" if name in place else manifests[name].get("started", ""),
            above(name),
            name,
        )

    return sorted(manifests, key=key)


def misplaced(name: str, manifest: Mapping[str, Any]) -> str | None:
    """What is wrong with a stage in the place of another: it knows its name."""
    own = manifest.get("name", "")
    if own in ("", name) or name.partition("/")[0] not in result_types():
        return None
    return f"this is {own}, in the place of {name}"


def damage(folder: Path) -> dict[str, str]:
    """What is damaged in a run folder, or in the folder of a single stage, every file considered: see `Run.damaged`."""
    try:
        return dict(Run(folder, verified=True).damaged)
    except AccordError as error:  # of a single stage, there is nothing else
        return {"": str(error.got)}


@checked
def read(folder: Path) -> Run:
    """A run folder, to look at its results.

    >>> accord.read("runs/demo")["verdict/readout-s0"].changes  # doctest: +SKIP

    Raises AccordError if there are no results in it.
    """
    run = Run(Path(folder))
    if not run.manifests and (wrong := next((name for name in run.damaged if (run.folder / name).is_dir()), None)):
        raise damaged(run.folder / wrong, run.damaged[wrong])
    if not run.manifests:
        check_finished(folder)
        raise AccordError("There are no results here.", where=folder, wanted="a run folder of accord run")
    return run
