"""A run folder as it is read: its stages by name, each result in the type that wrote it."""

import tomllib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from accord.arguments import checked
from accord.capabilities import CAPABILITIES, part, parts
from accord.errors import AccordError, nearest
from accord.study.store import MANIFEST, STUDY, read_manifest
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

    The folder of a single stage, such as `accord gap --out` makes, is a run of that stage, by the folder's name.

    >>> run = accord.read("runs/demo")  # doctest: +SKIP
    >>> run["gap/hypernymy"].metrics["pearson_all"]  # doctest: +SKIP
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, Any] = {}

    @cached_property
    def manifests(self) -> Mapping[str, dict[str, Any]]:
        """Name of a stage -> what it says of itself, in the order in which they were begun."""
        if (self.folder / MANIFEST).is_file():
            manifest = _manifest(self.folder)
            return {f"{manifest['stage']}/{self.folder.resolve().name}": manifest}
        manifests = {}
        for path in sorted(self.folder.glob(f"*/{MANIFEST}")) + sorted(self.folder.glob(f"*/*/{MANIFEST}")):
            name = path.parent.relative_to(self.folder).as_posix()
            if not any(part.startswith(".") for part in name.split("/")):  # one that is being made
                manifests[name] = _manifest(path.parent)

        def above(name: str) -> int:
            """How many stages are made one after the other before it: of two in one second, the first is first."""
            inputs = [source["stage"] for source in manifests[name].get("inputs", {}).values()]
            return max((above(source) + 1 for source in inputs if source in manifests), default=0)

        names = sorted(manifests, key=lambda name: (str(manifests[name].get("started")), above(name), name))
        return {name: manifests[name] for name in names}

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
        if name not in self.manifests:
            raise AccordError("There is no such stage in this run.", where=self.folder, got=repr(name),
                              wanted=nearest(name, self.manifests))  # fmt: skip
        if name not in self._read:
            self._read[name] = self._result(name)
        return self._read[name]

    def __repr__(self) -> str:
        return "\n".join([f"run {self.folder}", *(f"  {name}" for name in self)])

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
        """The text of the study that made it; empty where there is none."""
        path = self.folder / STUDY
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


def _manifest(folder: Path) -> dict[str, Any]:
    manifest = read_manifest(folder)
    if manifest is None:
        raise AccordError("This manifest is damaged.", where=folder / MANIFEST, fix="run the study again")
    return manifest


@checked
def read(folder: Path) -> Run:
    """A run folder, to look at its results.

    >>> accord.read("runs/demo")["verdict/readout-s0"].changes  # doctest: +SKIP

    Raises AccordError if there are no results in it.
    """
    run = Run(Path(folder))
    if not run.manifests:
        check_finished(folder)
        raise AccordError("There are no results here.", where=folder, wanted="a run folder of accord run")
    return run
