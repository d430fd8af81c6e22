"""The rows of a study: every language model that its heads make, crossed with what they read and where."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from accord.concepts.config import ConceptSection
from accord.heads.config import HeadSection, section_of
from accord.perplexity.config import PerplexitySection
from accord.section import Layer
from accord.study.root import Study

BACKBONE, RANDOM = "backbone", "random"


@dataclass(frozen=True)
class Row:
    """A language model: a head, and the concepts (or none) that it reads at a layer."""

    name: str
    head: HeadSection
    concepts: ConceptSection | None
    layer: Layer

    @property
    def label(self) -> str:
        """The name, and the layer where the study gives one by number."""
        return self.name + suffix(self.layer)

    @property
    def is_backbone(self) -> bool:
        """Whether it is the backbone itself: then no seed and no layer changes it."""
        return self.head.kind == "original" and self.concepts is None


def suffix(layer: Layer) -> str:
    """How a layer reads in a folder's name; layers given as "last" are left out of it.

    >>> suffix("last"), suffix(12)
    ('', '-L12')
    """
    return "" if layer == "last" else f"-L{layer}"


def layers_of(study: Study, concepts: ConceptSection) -> list[Layer]:
    """The layers that a concept model is made on."""
    return concepts.layers or study.backbone.layer


def all_rows(study: Study) -> list[Row]:
    """Every row whose model the study makes, the backbone first; `random`, which has no model, is none of them.

    Without [[heads]], those of the usual table that [perplexity] asks for.
    """
    heads, concepts = study.all(HeadSection), study.all(ConceptSection)
    if not heads and study.the(PerplexitySection) is None:
        return []
    backbone = Row(BACKBONE, section_of("original").model_validate({"reads": "embedding"}), None, "last")
    if heads:
        crossed = [row for head in heads for row in _cross(study, head)]
        return [backbone, *(row for row in crossed if not row.is_backbone)]
    usual = [row for head in _USUAL for row in _cross(study, head)]
    usual.sort(key=lambda row: 0 if row.concepts is None else 1 + concepts.index(row.concepts))
    return [backbone, *(row for row in usual if wanted_row(study, row))]


def wanted_row(study: Study, row: Row) -> bool:
    """Whether [perplexity] asks for this row."""
    section = study.the(PerplexitySection)
    names = section.rows if section is not None else []
    return names == "all" or row.name in names or row.label in names


def known_rows(study: Study) -> list[str]:
    """All names that [perplexity] may ask for."""
    rows = [row for head in study.all(HeadSection) or _USUAL for row in _cross(study, head)]
    return list(dict.fromkeys([BACKBONE, RANDOM, *(name for row in rows for name in (row.name, row.label))]))


_USUAL: Sequence[HeadSection] = tuple(
    section_of(kind).model_validate({"reads": reads})
    for kind, reads in (
        ("finetuned", "embedding"),
        ("new", "embedding"),
        ("new", "latents"),
        ("original", "reconstruction"),
        ("new", "reconstruction"),
    )
)


def _cross(study: Study, head: HeadSection) -> Iterator[Row]:
    if head.reads == "embedding":
        for layer in study.backbone.layer:
            yield Row(head.name or _SHORT[head.kind], head, None, layer)
        return
    own = head.name or "-".join([head.reads, head.kind, *(["hard"] if head.hard else [])])
    for concepts in study.all(ConceptSection):
        if head.concepts in ("all", concepts.title) and not concepts.transcodes:
            for layer in layers_of(study, concepts):
                yield Row(f"{concepts.title}-{own}", head, concepts, layer)


_SHORT = {"original": BACKBONE, "finetuned": "finetuned", "new": "new"}
