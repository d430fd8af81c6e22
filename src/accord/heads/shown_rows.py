"""The rows of the perplexity table as the page shows them: their order, and their names in words."""

from collections.abc import Iterable, Sequence

from accord.heads.rows import BACKBONE, RANDOM
from accord.report.seeds import SeedGroup, SeedResult, grouped, relabelled

_BACKBONE_ROWS = {
    BACKBONE: "the backbone as it is",
    "finetuned": "backbone, fine-tuned head",
    "new": "backbone, new head",
}
_CONCEPT_ROWS = {
    "-latents-new": "{} → new head",
    "-reconstruction-original": "reconstruction by {} → original head",
    "-reconstruction-new": "reconstruction by {} → new head",
}


def row_groups(results: Iterable[SeedResult], concepts: Sequence[str]) -> list[SeedGroup]:
    """Heads or judged texts, in the natural order of the table: backbone, then concept by concept, random last.

    Args:
        concepts: names of the concept models, in the order of the study.
    """
    groups = sorted(grouped(results), key=lambda group: row_place(group.named("row"), concepts))
    return relabelled(groups, [group.named("row") for group in groups])


def row_place(row: str, concepts: Sequence[str]) -> tuple[int, int, int, str]:
    """Where a row stands in the table; rows of no usual name come before the random one, by name.

    >>> sorted(["random", "mine", "topk-latents-new", "backbone"], key=lambda row: row_place(row, ["topk"]))
    ['backbone', 'topk-latents-new', 'mine', 'random']
    """
    if row in _BACKBONE_ROWS:
        return 0, list(_BACKBONE_ROWS).index(row), 0, row
    if row == RANDOM:
        return 3, 0, 0, row
    for i, suffix in enumerate(_CONCEPT_ROWS):
        if row.endswith(suffix):
            name = row.removesuffix(suffix)
            match = [k for k, concept in enumerate(concepts) if name == concept or name.startswith(f"{concept}-L")]
            return 1, match[0] if match else len(concepts), i, row
    return 2, 0, 0, row


def row_meaning(group: SeedGroup) -> str:
    """The name of its row in words; nothing for a row of no usual name."""
    row = group.named("row")
    for suffix, words in _CONCEPT_ROWS.items():
        if row.endswith(suffix):
            return words.format(row.removesuffix(suffix))
    return "random tokens, no model" if row == RANDOM else _BACKBONE_ROWS.get(row, "")
