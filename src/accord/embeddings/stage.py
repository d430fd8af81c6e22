"""The stage that divides texts, and extracts the backbone's states of every layer that a study asks for."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from accord.concepts.config import ConceptSection
from accord.embeddings.config import TextSection
from accord.embeddings.result import HELD_OUT, TRAIN, Embeddings
from accord.errors import AccordError
from accord.heads.rows import Row, all_rows
from accord.study.plan import Plan, Unplanned, planned_once
from accord.study.stage import Stage
from accord.study.work import Progress, Work
from accord.text import Batch, Corpus, EmbeddingStore, batches, corpus, extract
from accord.text.sources import is_local, source_fingerprint

VERSION = 2  # raise it when the same settings give other files or numbers


def stages(plan: Plan) -> Iterator[Stage]:
    """The one stage of embeddings, where there are texts."""
    if plan.the(TextSection) is not None:
        yield embeddings(plan)


@planned_once
def embeddings(plan: Plan) -> Stage:
    """The states of `[text]` at every layer that the study reads. Without `[text]`, raises Unplanned."""
    section = plan.the(TextSection)
    if section is None:
        raise Unplanned
    with plan.at("text", section=section):
        source = plan.texts(section.source)
        if is_local(source):
            # Before anything runs: does the source have these columns, and texts for both sides?
            plan.kept(["corpus", source], lambda: bool(read_corpus(section, source, plan.seed)))
        return _stage(plan, section, source)
    raise Unplanned


def _stage(plan: Plan, section: TextSection, source: str) -> Stage:
    base, numbers = plan.named(plan.backbone), _layers(plan)

    def make(work: Work) -> Embeddings:
        lm = work.backbone(base.section)
        texts = read_corpus(section, source, plan.seed)
        sizes = {}
        for side, budget in ((HELD_OUT, section.held_out_tokens), (TRAIN, section.max_tokens)):
            rows = texts.table[texts.table["held_out"] == (side == HELD_OUT)]
            store = extract(
                lm,
                list(rows["text"]),
                work.folder / side,
                layers=[number for number in numbers if number is not None],
                max_length=section.max_length,
                stride=section.stride,
                dtype=section.dtype,
                max_tokens=budget,
                progress=work.progress,
            )
            _write_texts(rows, store, work.folder / f"{side}_texts.parquet")
            sizes[f"{side}_tokens"] = store.tokens
        return Embeddings(work.folder, {**_describe(texts), **sizes})

    settings = {
        **base.identity,
        # `unit` is left out where it is not given, so that embeddings from before there was this key stay valid.
        "text": section.model_dump(exclude={"source"} if section.unit else {"source", "unit"}),
        "source": source_fingerprint(source),
        "layers": numbers,
    }
    return Stage("embeddings", "", make, settings, plan.seed, VERSION)


def _layers(plan: Plan) -> list[int | None]:
    """The numbers of all layers that the study reads; None for the last while its number is not known."""
    layers: set[int | None] = set()
    for layer in plan.study.backbone.layer:
        with plan.at("backbone", "layer"):
            layers.add(plan.number(layer))
    for i, section in enumerate(plan.all(ConceptSection)):
        for layer in section.layers or []:
            with plan.at("concepts", i, "layers"):
                layers.add(plan.number(layer))
    for row in all_rows(plan.study):
        with plan.at(*_place(plan, row)):
            layers.add(plan.number(row.layer))
    return sorted(layers, key=lambda number: -1 if number is None else number)


def _place(plan: Plan, row: Row) -> tuple[str | int, ...]:
    """Where the study says the layer of a row."""
    if row.concepts is None or not row.concepts.layers:
        return "backbone", "layer"
    return "concepts", plan.all(ConceptSection).index(row.concepts), "layers"


def read_corpus(section: TextSection, source: str, seed: int) -> Corpus:
    """The corpus of a `[text]` section. Raises AccordError if no text is held out."""
    keys = section.model_dump(include={"column", "label", "split", "unit", "held_out", "limit"})
    texts = corpus(source, seed=seed, **keys)
    if not texts.held_out:
        raise AccordError(
            "No text is held out.",
            where=source,
            got=texts.describe(),
            wanted="two documents or more",
            fix='of one .txt or .md file take each line as a text: unit = "line"' if section.unit != "line" else None,
        )
    return texts


def shuffled(
    store: EmbeddingStore, layer: int, size: int, seed: int, steps: int, progress: Progress
) -> Callable[[int], Iterator[Batch]]:
    """Training batches from any step on, as the trainer takes them; `progress` gets step and steps."""

    def supply(start: int) -> Iterator[Batch]:
        for step, batch in enumerate(batches(store, layer, size, seed=seed, start_step=start), start):
            progress(step, steps)
            yield batch

    return supply


def _write_texts(rows: pd.DataFrame, store: EmbeddingStore, path: Path) -> None:
    """Write the texts up to the last that has a row in the store; `text` in the store is the number of its row here."""
    skipped = store.layout.left_out["beyond"]
    last = len(rows) - skipped
    rows.head(last).drop(columns="held_out").to_parquet(path, index=False)


def _describe(texts: Corpus) -> dict[str, Any]:
    rejected = {reason: {"rows": len(places), "first": places[0]} for reason, places in texts.rejected.items()}
    return {
        "source": Path(texts.source).name if Path(texts.source).exists() else texts.source,
        "fingerprint": texts.fingerprint,
        "texts": len(texts.table),
        "held_out": len(texts.held_out),
        "duplicates": texts.duplicates,
        "documents": texts.documents,
        "rejected": rejected,
        "said": texts.describe(),
    }
