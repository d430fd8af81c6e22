"""Stages that make the language models of a study: heads, trained where they must be, and saved with what they read."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accord.concepts.config import ConceptSection
from accord.concepts.stage import (
    TRAINED,
    ConceptNode,
    concept_models,
    need_texts,
    puts_nothing_back,
    unfilled_of,
    weights_of,
)
from accord.embeddings.result import Embeddings
from accord.errors import AccordError, nearest
from accord.heads.config import HeadSection, head_config
from accord.heads.result import HeadMetrics
from accord.heads.rows import RANDOM, Row, all_rows
from accord.study.plan import Plan, planned_once
from accord.study.stage import Needs, Stage
from accord.study.work import Work

if TYPE_CHECKING:
    from accord.heads import ConceptLM

VERSION = 2  # raise it when the same settings give other files or numbers


@dataclass(frozen=True)
class HeadNode:
    """The language model of a row and seed, and the stage that makes it."""

    row: Row
    seed: int | None  # None for the backbone, which no seed changes
    stage: Stage

    def load(self, work: Work, plan: Plan, *, to_make: bool = False) -> "ConceptLM":
        """The model, on the run's backbone; `to_make` something with, see `accord.study.work.to_make`."""
        from accord.heads import load_concept_lm

        lm: ConceptLM = load_concept_lm(work.at(self.stage), backbone=work.backbone(plan.backbone, to_make=to_make))
        return lm


def stages(plan: Plan) -> Iterator[Stage]:
    """The model of every row with every seed."""
    yield from (node.stage for node in heads(plan))


@planned_once
def heads(plan: Plan) -> list[HeadNode]:
    """The models of all rows, crossed with seeds."""
    _check_names(plan)
    rows = all_rows(plan.study)
    if not rows:
        return []
    need_texts(plan, "heads" if plan.all(HeadSection) else "perplexity")
    models = {(node.title, node.layer, node.seed): node for node in concept_models(plan)}
    nodes: dict[tuple[str, int | None], HeadNode] = {}
    for seed in plan.study.seeds:
        for row in rows:
            row_seed = None if row.is_backbone else seed
            concepts = models.get((row.concepts.title, row.layer, seed)) if row.concepts else None
            # Where the concepts cannot be planned, their section has the problem.
            if (row.label, row_seed) in nodes or (row.concepts and concepts is None):
                continue
            with plan.at("heads"):
                nodes[row.label, row_seed] = HeadNode(row, row_seed, _stage(plan, row, row_seed, concepts))
    return list(nodes.values())


def head_of(plan: Plan, label: str, seed: int) -> HeadNode | None:
    """The model of a row, by its label or else its name, that a seed made; None if there is none."""
    nodes = [node for node in heads(plan) if node.seed in (None, seed)]
    matches = [node for node in nodes if node.row.label == label] or [node for node in nodes if node.row.name == label]
    return next(iter(matches), None)


def _stage(plan: Plan, row: Row, seed: int | None, concepts: ConceptNode | None) -> Stage:
    inputs = {"embeddings": need_texts(plan, "heads")} | ({} if concepts is None else {"concepts": concepts.stage})
    about: dict[str, Any] = {
        "row": row.name,
        "concepts": row.concepts.title if row.concepts else None,
        "reads": row.head.reads,
        "head": row.head.kind,
        "layer": plan.number(row.layer),
        "seed": seed,
    }
    config = head_config(row.head, seed or 0)
    training = getattr(row.head, "training", None)
    batch = None if training is None else training.batch

    def make(work: Work) -> HeadMetrics:
        from accord.heads import Reader, save_concept_lm
        from accord.heads.measure import LayerRows, make_head

        lm = work.backbone(plan.backbone)
        rows = LayerRows(Embeddings.read(work.at(inputs["embeddings"])), about["layer"])
        model = None if concepts is None else concepts.load(work, lm)
        reader = Reader(config.reads, model, config.hard)
        head, measures = make_head(config, lm, reader, rows, batch or 0, work)
        save_concept_lm(head, work.folder)
        return HeadMetrics({**about, **measures})

    def needs() -> Needs:
        read = 0 if row.concepts is None else weights_of(plan, row.concepts)
        head = 0 if training is None else 4 * _inputs(plan, row) * _columns(plan, row)
        kept = training is not None and training.steps > training.checkpoint_every
        return Needs(plan.weights(plan.backbone) + read + TRAINED * head, read + head, TRAINED * head if kept else 0)

    settings = {**about, "config": config.model_dump(), "batch": batch}
    label = row.label + ("" if seed is None else f"-s{seed}")
    return Stage(
        "heads", label, make, settings, seed or 0, VERSION, inputs, needs, trains=training is not None, seconds=10
    )


def _inputs(plan: Plan, row: Row) -> int:
    """Numbers that a head reads; 0 where that is not known before it is made."""
    if row.head.reads != "latents" or row.concepts is None:
        return plan.width or 0
    model = unfilled_of(plan, row.concepts)
    return 0 if model is None else model.K * int(getattr(row.concepts, "width", 1))  # with content: a vector each


def _columns(plan: Plan, row: Row) -> int:
    """Tokens that it has a logit for; 0 where that is not known before it is made."""
    return plan.vocabulary or 0 if row.head.vocabulary == "full" else 0


def _check_names(plan: Plan) -> None:
    """Note rows that would share a folder, and heads on concepts that no section makes."""
    titles = [section.title for section in plan.all(ConceptSection) if not section.transcodes]
    for i, head in enumerate(plan.all(HeadSection)):
        if head.reads != "embedding" and (not titles or head.concepts not in ("all", *titles)):
            wanted = nearest(head.concepts, ["all", *titles]) if titles else "a [[concepts]] section"
            error = AccordError("No [[concepts]] has this name.", got=repr(head.concepts), wanted=wanted)
            transcodes = any(of.title == head.concepts and of.transcodes for of in plan.all(ConceptSection))
            plan.problem(puts_nothing_back(head.concepts) if transcodes else error, "heads", i, "concepts")
    if len({title.casefold() for title in titles}) < len(titles):
        return  # a problem that the concept models have noted
    counts = Counter(row.label.casefold() for row in all_rows(plan.study))
    twice = [label for label, count in counts.items() if count > 1 or label == RANDOM]
    if twice and plan.all(HeadSection):
        fix = 'give one of them a name: name = "…"'
        plan.problem(AccordError("Two [[heads]] make the same row.", got=twice[0], fix=fix), "heads")
