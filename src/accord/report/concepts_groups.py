"""The seeds of one thing belong together: groups of stages, what they are called, and the order they stand in."""

from collections.abc import Sequence
from dataclasses import dataclass

from accord.report.concepts_data import ConceptLine, Stage
from accord.report.data import Metric
from accord.report.seeds import over_seeds

GATED = ("bernoulli", "lcblm", "lcblm-shared")  # kinds whose gates can be read soft or hard

_BACKBONE_ROWS = {
    "backbone": "the backbone as it is",
    "finetuned": "backbone, fine-tuned head",
    "new": "backbone, new head",
}
_CONCEPT_ROWS = {
    "-latents-new": "{} → new head",
    "-reconstruction-original": "reconstruction by {} → original head",
    "-reconstruction-new": "reconstruction by {} → new head",
}
_RANDOM = "random"


@dataclass(frozen=True)
class Group:
    """Stages that differ in their seed only, under one label."""

    label: str
    stages: list[Stage]

    def values(self, name: str) -> list[float]:
        """A number of every seed, in the order of the seeds."""
        return [stage.numbers[name] for stage in self.stages]

    def metric(self, name: str) -> Metric:
        """Its mean over the seeds, with the interval."""
        return over_seeds(self.values(name))

    def named(self, name: str) -> str:
        """A name that all seeds share."""
        return self.stages[0].names[name]

    @property
    def gated(self) -> bool:
        """Whether soft and hard gates are two different readings of this concept model."""
        return self.named("kind") in GATED or self.values("r2") != self.values("r2_hard")

    @property
    def best_r2(self) -> Metric:
        """R² as the model counts its concepts: L0 is that of hard gates, so R² must be too."""
        return self.metric("r2_hard")


def concept_groups(line: ConceptLine) -> list[Group]:
    """The concept models, in the order of the study."""
    grouped = _grouped(line.concepts)
    names = [part[0].names["name"] for part in grouped]
    layered = [f"{part[0].names['name']}, layer {part[0].names['layer']}" for part in grouped]
    return _labelled(grouped, names, layered)


def row_groups(stages: Sequence[Stage], concepts: Sequence[Group]) -> list[Group]:
    """Heads or judged texts, in the natural order of the table: backbone, then concept by concept, random last."""
    order = list(dict.fromkeys(group.named("name") for group in concepts))
    grouped = _grouped(stages)
    grouped.sort(key=lambda part: row_place(part[0].names["row"], order))
    rows = [part[0].names["row"] for part in grouped]
    return _labelled(grouped, rows, rows)


def row_place(row: str, concepts: Sequence[str]) -> tuple[int, int, int, str]:
    """Where a row stands; rows that nobody foresaw come before the random one, by name."""
    if row in _BACKBONE_ROWS:
        return 0, list(_BACKBONE_ROWS).index(row), 0, row
    if row == _RANDOM:
        return 3, 0, 0, row
    for i, suffix in enumerate(_CONCEPT_ROWS):
        if row.endswith(suffix):
            name = row.removesuffix(suffix)
            match = [k for k, concept in enumerate(concepts) if name == concept or name.startswith(f"{concept}-L")]
            return 1, match[0] if match else len(concepts), i, row
    return 2, 0, 0, row


def row_meaning(row: str) -> str:
    """A row's name in words; nothing for one that is not known."""
    for suffix, words in _CONCEPT_ROWS.items():
        if row.endswith(suffix):
            return words.format(row.removesuffix(suffix))
    return "random tokens, no model" if row == _RANDOM else _BACKBONE_ROWS.get(row, "")


def _grouped(stages: Sequence[Stage]) -> list[list[Stage]]:
    groups: dict[str, list[Stage]] = {}
    for stage in stages:
        groups.setdefault(stage.group, []).append(stage)
    return [sorted(part, key=lambda stage: stage.seed) for part in groups.values()]


def _labelled(grouped: Sequence[list[Stage]], *choices: Sequence[str]) -> list[Group]:
    """Each group under the shortest of the names that tell them all apart; the folder's name always does."""
    folders = [part[0].group for part in grouped]
    names = next((c for c in choices if len(set(c)) == len(c)), folders)
    return [Group(name, part) for name, part in zip(names, grouped, strict=True)]
