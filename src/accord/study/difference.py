"""Two runs side by side: what differs, which metrics with it, and which stage's difference explains it.

Stages are compared by their manifests, files by the hashes in them. A stage has *causes* of its own where its recipe
differs (settings, seed, accord's own version of it, what it is made from), or where nothing above it differs and its
files do all the same: then versions of packages, device, precision, or nothing that is recorded. Every other stage
whose files differ follows from those that it is made from.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from accord.arguments import checked
from accord.disk import read_object, sha256
from accord.errors import AccordError
from accord.study.manifest import check_if_stage, fault
from accord.study.objective import metrics as objectives
from accord.study.run_folder import Run, read, result_types
from accord.study.stage import ABSENT, settings_that_differ
from accord.study.store import files_of

if TYPE_CHECKING:
    import pandas as pd

    from accord.intervals import Interval

Kind = Literal["setting", "seed", "code", "input", "package", "machine", "changed", "unknown"]
METRICS = "metrics.json"
NOISE = 1e-6
"""Relative difference of a metric that is taken for rounding: it is counted, not listed."""

_PASSING = ("seconds", "path")  # in JSON files: how long it took, and where a model lay
_NO_METRICS = ("seed", "layer", "seconds")
_COUNTED = {"items", "skipped", "skipped_first"}  # in the settings of tasks: what follows from other settings and seed
_LARGE = 2**24  # bytes: larger files are not looked into


@dataclass(frozen=True)
class Difference:
    """One thing that differs in how a stage of two runs was made.

    Attributes:
        kind: "setting", "seed", "code" (accord's own version of the stage), "input" (which stage plays a role),
            "package" (its version), "machine" (device, dtype, card and threads that were found), "changed" (files are
            no longer as they were written) or "unknown" (nothing that is recorded).
        name: the key of the setting, the role of the input, the package, "device", "dtype", "card" or "threads".
        first, second: both values; `accord.study.stage.ABSENT` for a setting that one of them does not have.
    """

    kind: Kind
    name: str
    first: Any
    second: Any


@dataclass(frozen=True)
class MetricDifference:
    """A metric of a stage in two runs.

    Attributes:
        stage: its name in the first run.
        first, second: both values, each with its own 95 % interval where it has one.
        change: second − first; with an interval only where both are of the same items, so that they are paired.
    """

    stage: str
    metric: str
    first: "Interval"
    second: "Interval"
    change: "Interval"

    @property
    def paired(self) -> bool:
        """Whether there is an interval of the change."""
        return self.change["low"] is not None

    @property
    def order(self) -> tuple[int, float]:
        """To sort by: changes beyond their interval, largest in its units first; those without any; those within it.

        Without pairs, both intervals' half widths stand in, as if the errors were independent: for this order alone.
        """
        change = self.change["value"]
        if change is None:
            return 1, -math.inf
        halves = [_half(self.change)] if self.paired else [_half(self.first), _half(self.second)]
        half = math.hypot(*halves)
        if math.isnan(half):
            return 1, -abs(change) / max(abs(self.first["value"]), abs(self.second["value"]))
        ratio = abs(change) / half if half else math.inf
        return (0 if ratio > 1 else 2), -ratio


@dataclass(frozen=True)
class StagePair:
    """A stage in two runs.

    Attributes:
        first, second: its name in both; they differ where seeds, layers or names do.
        recipe: how the recipes differ, the contents of inputs aside.
        made: how the making differs: versions of packages, device and dtype, card and threads.
        follows: names, in the first run, of inputs whose contents differ.
        files: whose contents differ, by more than how long something took.
        passing: how many others differ by that alone.
        metrics: that differ, the most telling first.
        noise: how many others differ by rounding, see `NOISE`.
        remarks: what else is to be known of the metrics, in sentences.
    """

    first: str
    second: str
    recipe: tuple[Difference, ...] = ()
    made: tuple[Difference, ...] = ()
    follows: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    passing: int = 0
    metrics: tuple[MetricDifference, ...] = ()
    noise: int = 0
    remarks: tuple[str, ...] = ()

    @property
    def causes(self) -> tuple[Difference, ...]:
        """Why its contents differ for reasons of its own; none where they do not, or follow from its inputs."""
        if not self.files or (self.follows and not self.recipe):
            return ()
        return self.recipe or self.made or (Difference("unknown", "", None, None),)


@dataclass(frozen=True)
class RunDifference:
    """What differs between two runs; `accord.study.shown_difference.sentences` says it in words.

    Attributes:
        first, second: the run folders.
        pairs: stages that both have, in the order in which the first run began them.
        only_first, only_second: names of those that only one has.
    """

    first: Path
    second: Path
    pairs: tuple[StagePair, ...]
    only_first: tuple[str, ...] = ()
    only_second: tuple[str, ...] = ()

    @property
    def differing(self) -> list[StagePair]:
        """The stages whose contents differ."""
        return [pair for pair in self.pairs if pair.files]

    @property
    def causes(self) -> list[StagePair]:
        """Those among them that differ for reasons of their own."""
        return [pair for pair in self.pairs if pair.causes]

    @property
    def metrics(self) -> list[MetricDifference]:
        """All metrics that differ, the most telling first (see `MetricDifference.order`)."""
        return sorted((metric for pair in self.pairs for metric in pair.metrics), key=lambda metric: metric.order)

    @cached_property
    def roots(self) -> Mapping[str, frozenset[str]]:
        """Name of a differing stage -> the stages with causes of their own that its difference may come from."""
        pairs, known = {pair.first: pair for pair in self.pairs}, dict[str, frozenset[str]]()

        def of(name: str) -> frozenset[str]:
            if name not in known:
                pair = pairs[name]
                own = frozenset([name] if pair.causes else [])
                known[name] = own.union(*(of(source) for source in pair.follows))
            return known[name]

        return {pair.first: of(pair.first) for pair in self.differing}

    @property
    def explanation(self) -> StagePair | None:
        """The stage on whose own cause every metric that differs depends, the most upstream if there are several.

        Where no metric differs, every stage that does; None where there is no such stage.
        """
        telling = [pair for pair in self.differing if pair.metrics] or self.differing
        common = frozenset.intersection(*(self.roots[pair.first] for pair in telling)) if telling else frozenset()
        return next((pair for pair in self.causes if pair.first in common), None)

    @property
    def suspect(self) -> StagePair | None:
        """The stage to look at first: the explanation, or else that on which alone the most telling metric depends."""
        alone = [roots for metric in self.metrics if len(roots := self.roots[metric.stage]) == 1]
        among = alone[0] if alone else {pair.first for pair in self.causes}
        return self.explanation or next((pair for pair in self.causes if pair.first in among), None)

    def alone(self, cause: StagePair) -> list[MetricDifference]:
        """The metrics that depend on this stage's cause and no other."""
        return [metric for metric in self.metrics if self.roots[metric.stage] == {cause.first}]

    def table(self) -> "pd.DataFrame":
        """A row a metric that differs: stage, metric, then value, low and high of first, second and change."""
        import pandas as pd

        sides, ends = ("first", "second", "change"), ("value", "low", "high")
        columns = ["stage", "metric", *(side if end == "value" else f"{side}_{end}" for side in sides for end in ends)]
        rows = [
            [metric.stage, metric.metric, *(getattr(metric, side).get(end) for side in sides for end in ends)]
            for metric in self.metrics
        ]
        return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[2:], float))


@checked
def diff(first: Path, second: Path) -> RunDifference:
    """Compare two run folders, or folders of a single stage such as `accord gap --out` makes.

    >>> difference = accord.diff("runs/monday", "runs/tuesday")  # doctest: +SKIP
    >>> difference.explanation, difference.table()  # doctest: +SKIP

    Stages are paired by name; then by their label without the seed; then by that without the layer, and last by their
    kind, where there is only one left on both sides.

    Raises AccordError if there are no results in one of them.
    """
    runs = read(Path(first)), read(Path(second))
    names, *alone = _paired(*runs)
    bare = [_Bare(runs, left, right) for left, right in names]
    equal = {pair.names for pair in bare if not pair.files}
    pairs = [pair.compared(dict(names), equal) for pair in bare]
    return RunDifference(runs[0].folder, runs[1].folder, tuple(pairs), *map(tuple, alone))


def _paired(first: Run, second: Run) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """Names of the stages that belong together, and those that are left on both sides."""
    partner: dict[str, str] = {}

    def seedless(run: Run, name: str) -> str:
        return re.sub(rf"-s{run.manifests[name].get('seed')}$", "", name)

    keys = (
        lambda run, name: name,
        seedless,
        lambda run, name: re.sub(r"-L\d+$", "", seedless(run, name)),
        lambda run, name: run.manifests[name]["stage"],
    )
    for level, key in enumerate(keys):
        left, right = _grouped(first, key, partner.keys()), _grouped(second, key, partner.values())
        for name in left.keys() & right.keys():
            if level < 2 or len(left[name]) == len(right[name]) == 1:
                partner |= zip(left[name], right[name], strict=False)
    taken = set(partner.values())
    return (
        [(name, partner[name]) for name in first if name in partner],
        [name for name in first if name not in partner],
        [name for name in second if name not in taken],
    )


def _grouped(run: Run, key: Any, without: Iterable[str]) -> dict[str, list[str]]:
    """Key -> the names that have it, by seed."""
    groups: dict[str, list[str]] = {}
    left = [name for name in run if name not in set(without)]
    for name in sorted(left, key=lambda name: (run.manifests[name].get("seed") or 0, name)):
        groups.setdefault(key(run, name), []).append(name)
    return groups


class _Bare:
    """Two stages that belong together, before their inputs are looked at."""

    def __init__(self, runs: tuple[Run, Run], first: str, second: str) -> None:
        self.runs, self.names = runs, (first, second)
        self.manifests = runs[0].manifests[first], runs[1].manifests[second]
        self.places = runs[0].place(first), runs[1].place(second)
        whole = [fault(place, manifest) is None for place, manifest in zip(self.places, self.manifests, strict=True)]
        self.changed = None if all(whole) else tuple("as written" if same else "changed" for same in whole)
        hashes = [_hashes(*side) for side in zip(self.places, self.manifests, whole, strict=True)]
        other = [name for name in sorted({*hashes[0], *hashes[1]}) if hashes[0].get(name) != hashes[1].get(name)]
        self.files = tuple(name for name in other if not _alike(*(place / name for place in self.places)))
        self.passing = len(other) - len(self.files)

    def compared(self, partner: Mapping[str, str], equal: set[tuple[str, str]]) -> StagePair:
        """The pair, with the metrics that differ.

        Args:
            partner: name of a stage in the first run -> in the second.
            equal: names of pairs whose contents are the same.
        """
        others, follows = self._inputs(partner, equal)
        recipe = (*self._settings(), *others)
        if self.changed is not None:
            recipe = (Difference("changed", "files", *self.changed), *recipe)
        metrics, noise, remarks = self._metrics() if self.files else ([], 0, [])
        return StagePair(*self.names, recipe, tuple(self._made()), tuple(follows), self.files, self.passing,
                         tuple(sorted(metrics, key=lambda metric: metric.order)), noise, tuple(remarks))  # fmt: skip

    def _settings(self) -> Iterator[Difference]:
        (before, now), (seed, other) = self.manifests, (manifest.get("seed") for manifest in self.manifests)
        if before.get("version") != now.get("version"):
            yield Difference("code", "", before.get("version"), now.get("version"))
        if seed != other:
            yield Difference("seed", "seed", seed, other)
        settings = [
            Difference("setting", key, *values)
            for key, *values in settings_that_differ(before.get("settings", {}), now.get("settings", {}))
            if seed == other or not _is_seed(key, values, (seed, other))
        ]
        chosen = [one for one in settings if not _COUNTED.intersection(one.name.split("."))]
        yield from chosen if chosen or seed != other else settings

    def _inputs(self, partner: Mapping[str, str], equal: set[tuple[str, str]]) -> tuple[list[Difference], list[str]]:
        """Roles that another stage plays, and the inputs that are the same stage with other contents."""
        first, second = (manifest.get("inputs", {}) for manifest in self.manifests)
        others: list[Difference] = []
        follows: list[str] = []
        for role in dict.fromkeys([*first, *second]):
            prints = [side.get(role, {}).get("fingerprint") for side in (first, second)]
            name, other = (side[role]["stage"] if role in side else ABSENT for side in (first, second))
            if name in partner and partner[name] == other:
                if (name, other) not in equal:
                    follows.append(name)
            elif prints[0] != prints[1]:  # another stage, or one that is not in its run folder
                others.append(Difference("input", role, name, other))
        return others, follows

    def _made(self) -> Iterator[Difference]:
        for kind, table, keys in (("package", "versions", None), ("machine", "facts", ("device", "dtype"))):
            before, now = (manifest.get(table, {}) for manifest in self.manifests)
            for name in keys or dict.fromkeys([*before, *now]):
                if before.get(name) != now.get(name):
                    yield Difference(kind, name, before.get(name, ABSENT), now.get(name, ABSENT))  # type: ignore[arg-type]
        before, now = (manifest.get("machine") or {} for manifest in self.manifests)
        if before.get("device") == now.get("device"):  # else the card is another one
            for name in ("card", "threads"):
                if name in before and name in now and before[name] != now[name]:
                    yield Difference("machine", name, before[name], now[name])

    def _metrics(self) -> tuple[list[MetricDifference], int, list[str]]:
        """The metrics that differ, how many others do by rounding, and remarks."""
        kinds = [manifest["stage"] for manifest in self.manifests]
        try:
            first, second = (measures(kind, place) for kind, place in zip(kinds, self.places, strict=True))
            changes, remarks = self._changes() if kinds[0] == kinds[1] else ({}, [])
        except AccordError as error:
            return [], 0, [f"its metrics are not compared: {str(error).splitlines()[0]}"]
        found, noise = [], 0
        for name in (name for name in first if name in second):
            before, now = first[name].get("value"), second[name].get("value")
            if before == now:
                continue
            change: Interval = {"value": None, "low": None, "high": None}
            if before is not None and now is not None:
                if math.isclose(before, now, rel_tol=NOISE):
                    noise += 1
                    continue
                paired = changes.get(name, {})
                change = {"value": now - before, "low": paired.get("low"), "high": paired.get("high")}
            found.append(MetricDifference(self.names[0], name, first[name], second[name], change))
        if alone := len(first.keys() ^ second.keys()):
            remarks.append(f"{alone} metrics are in one of the runs only")
        return found, noise, remarks

    def _changes(self) -> "tuple[Mapping[str, Interval], list[str]]":
        """What the type of the result pairs, item by item, and what it says of the items."""
        results = [run[name] for run, name in zip(self.runs, self.names, strict=True)]
        changes = results[0].paired(results[1]) if hasattr(results[0], "paired") else {}
        said = results[0].items_beside(results[1]) if hasattr(results[0], "items_beside") else ""
        return changes, [said] if said else []


def measures(kind: str, place: Path) -> "dict[str, Interval]":
    """The metrics of a stage: what the type of its result says, or else the numbers in its metrics.json.

    Raises AccordError if its files are damaged.
    """
    check_if_stage(place)
    result = result_types().get(kind)
    if hasattr(result, "measures"):
        try:
            return dict(result.read(place).measures())  # type: ignore[union-attr]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise AccordError("This result cannot be read.", where=place, got=error, fix="accord check") from error
    if not (place / METRICS).is_file():
        return {}
    return dict(_numbers(read_object(place / METRICS), objectives().get(kind)))


def _numbers(metrics: Mapping[str, Any], wanted: Sequence[str] | None) -> "Iterator[tuple[str, Interval]]":
    """Numbers, each alone, with its ends beside it (NAME_low, NAME_high), or in a table with value, low and high."""
    for name, value in metrics.items():
        stem, _, end = name.rpartition("_")
        if name in _NO_METRICS or (end in ("low", "high") and stem in metrics):
            continue
        if wanted is not None and name not in wanted:
            continue
        if isinstance(value, Mapping) and "value" in value:
            yield name, {key: value.get(key) for key in ("value", "low", "high")}
        elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            yield name, {"value": value, "low": metrics.get(f"{name}_low"), "high": metrics.get(f"{name}_high")}


def _is_seed(key: str, values: Sequence[Any], seeds: tuple[Any, Any]) -> bool:
    """Whether a setting only repeats the seed: it is called so, or names a stage by it."""
    if key.rpartition(".")[2] == "seed":
        return tuple(values) == seeds
    stems = {re.sub(rf"-s{seed}$", "", str(value)) for value, seed in zip(values, seeds, strict=True)}
    return len(stems) == 1 and all(isinstance(value, str) for value in values)


def _hashes(place: Path, manifest: Mapping[str, Any], whole: bool) -> dict[str, str]:
    """File -> SHA-256: those in the manifest, unless files were changed since."""
    if whole:
        return {name: file["sha256"] for name, file in manifest["files"].items()}
    return {name: sha256(place / name) for name in files_of(place)}


def _alike(first: Path, second: Path) -> bool:
    """Whether two JSON files differ only in how long something took, or in where a model lay."""
    if first.suffix not in (".json", ".jsonl") or not (first.is_file() and second.is_file()):
        return False
    if max(first.stat().st_size, second.stat().st_size) > _LARGE:
        return False
    try:
        contents = [
            [_lasting(json.loads(text)) for text in (lines if path.suffix == ".jsonl" else ["\n".join(lines)]) if text]
            for path in (first, second)
            for lines in [path.read_text(encoding="utf-8").split("\n")]
        ]
    except (OSError, ValueError, RecursionError):
        return False
    return contents[0] == contents[1]


def _lasting(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _lasting(value) for key, value in content.items() if key not in _PASSING}
    return [_lasting(value) for value in content] if isinstance(content, list) else content


def _half(interval: "Interval") -> float:
    low, high = interval.get("low"), interval.get("high")
    return math.nan if low is None or high is None else (high - low) / 2
