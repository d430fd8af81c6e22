"""A stage: a node of a study's graph. Its recipe says whether the folder that holds it is up to date."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from accord.study.work import Work


class Result(Protocol):
    """The result of a stage: it writes itself into a folder, and reads itself back."""

    def write(self, folder: Path) -> None:
        """Write the tables and facts into a folder that is there."""

    @classmethod
    def read(cls, folder: Path) -> Any:
        """What `write` wrote there."""


@dataclass(frozen=True)
class Recipe:
    """All that fixes the contents of a stage's folder: equal fingerprints mean equal results.

    Attributes:
        stage: the kind of stage.
        version: of the code, raised when the same settings give other files or numbers.
        settings: as JSON.
        inputs: role -> fingerprint of the stage that plays it.
    """

    stage: str
    version: int
    settings: Mapping[str, Any]
    seed: int
    inputs: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the recipe, the order of settings aside."""
        fixed = [self.stage, self.version, self.settings, self.seed, self.inputs]
        return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Needs:
    """What making a stage takes of a machine, as far as that is known before: bytes, rather too few than too many.

    Attributes:
        memory: at once, on the device of the backbone; the models that it loads among it.
        disk: in the run folder.
        passing: there as well, until it is made.
    """

    memory: int = 0
    disk: int = 0
    passing: int = 0


@dataclass(frozen=True, eq=False)
class Stage:
    """A folder of results: what it is made from, and how.

    Attributes:
        kind: the kind of result: "pathway".
        label: which of the kind: "rankalign-s0"; empty where there can be but one.
        make: fills `work.folder`, going on from what is there; a result that it returns is written there, too.
        settings: what fixes the results beside the inputs and the seed, as JSON.
        version: see `Recipe`.
        inputs: role -> the stage that plays it.
        needs: says what making it takes of a machine; no part of the recipe.
        reach: tries what making it needs of other machines; raises AccordError where that does not answer.
        from_manifest: the recipe as a manifest has it, for a stage that is only read (see `store.stage_in`).
        spreads: whether several workers may compute its parts at once: until `Work.all_parts_made`, making it writes
            nothing but parts.
        trains: whether several ranks can make it together (`accord.ranks`); no part of the recipe.
        seconds: what one takes in the demo on two cores: its weight beside others before any was made on this machine.
        model: which it loads first of those that a worker keeps, by name; "backbone" is the study's own. Empty where it
            loads one that was repaired, which is not kept. A worker that has it is preferred; no part of the recipe.
    """

    kind: str
    label: str
    make: Callable[[Work], Result | None]
    settings: Mapping[str, Any]
    seed: int
    version: int
    inputs: Mapping[str, "Stage"] = field(default_factory=dict)
    needs: Callable[[], Needs] = Needs
    reach: Callable[[], None] | None = None
    from_manifest: Recipe | None = None
    spreads: bool = False
    trains: bool = False
    seconds: float = 5.0
    model: str = "backbone"

    @property
    def name(self) -> str:
        """Its folder in the run folder."""
        return f"{self.kind}/{self.label}" if self.label else self.kind

    @cached_property
    def recipe(self) -> Recipe:
        """All that fixes what it holds, the recipes of its inputs included."""
        if self.from_manifest is not None:
            return self.from_manifest
        prints = {role: stage.recipe.fingerprint for role, stage in self.inputs.items()}
        return Recipe(self.kind, self.version, self.settings, self.seed, prints)

    def upstream(self) -> Iterator["Stage"]:
        """All stages that it is made from, nearest last, and itself at the end; none twice."""
        seen: dict[int, Stage] = {}

        def visit(stage: Stage) -> None:
            if id(stage) not in seen:
                for other in stage.inputs.values():
                    visit(other)
                seen[id(stage)] = stage

        visit(self)
        return iter(seen.values())


def nearest_stage(word: str, names: Sequence[str]) -> str:
    """The kinds of the stages of these names, and the one stage that `word` was probably meant to be: for an error.

    >>> nearest_stage("gap/hypernimy", ["gap/hypernymy", "embeddings"])
    "gap, embeddings, or one stage, as KIND/LABEL (did you mean 'gap/hypernymy'?)"
    """
    kinds = list(dict.fromkeys(name.partition("/")[0] for name in names))
    close = get_close_matches(word, [*kinds, *names], n=1, cutoff=0.5) or [name for name in names if word in name]
    meant = f" (did you mean {close[0]!r}?)" if close else ""
    return f"{', '.join(kinds)}, or one stage, as KIND/LABEL{meant}"


class _Absent:
    """In place of a setting that one of two recipes does not have."""

    def __str__(self) -> str:
        return "not set"

    __repr__ = __str__


ABSENT: Any = _Absent()


def settings_that_differ(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Key and both values of every setting that differs, tables within tables as one: `training.steps`.

    >>> list(settings_that_differ({"k": 1, "training": {"steps": 4}}, {"training": {"steps": 5}}))
    [('k', 1, not set), ('training.steps', 4, 5)]
    """
    first, second = _flat(json.loads(json.dumps(before))), _flat(json.loads(json.dumps(now)))
    for key in dict.fromkeys([*first, *second]):
        values = first.get(key, ABSENT), second.get(key, ABSENT)
        if values[0] != values[1]:
            yield key, *values


def _flat(settings: Any, above: str = "") -> dict[str, Any]:
    """Lists of tables, such as other tasks, by their numbers; other lists whole."""
    if isinstance(settings, list) and any(isinstance(value, Mapping) for value in settings):
        settings = {str(i): value for i, value in enumerate(settings)}
    if not isinstance(settings, Mapping):
        return {above: settings}
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{above}.{key}" if above else str(key))
    return flat
