"""The stage that divides texts, and extracts the backbone's states of every layer that a study asks for."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from accord.concepts.config import ConceptSection, TranscoderSection
from accord.embeddings.config import SAMPLE, TextSection
from accord.embeddings.result import HELD_OUT, TRAIN, Embeddings
from accord.errors import AccordError
from accord.heads.rows import Row, all_rows
from accord.progress import Progress
from accord.spread import apart
from accord.study.plan import Plan, Unplanned, planned_once
from accord.study.stage import Needs, Stage
from accord.study.work import Work, to_make
from accord.text.catalog import TEXTS
from accord.text.corpora import Corpus, corpus
from accord.text.sources import is_local, source_fingerprint

if TYPE_CHECKING:
    from accord.text import Batch, EmbeddingStore

VERSION = 3  # raise it when the same settings give other files or numbers
_CHARACTERS = 6  # of a token, at the most that is usual


@dataclass(frozen=True)
class ExpectedTokens:
    """About how many tokens a corpus will give, rather too few: so many characters are in a long word."""

    train: int
    held_out: int


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
        return _stage(plan, section, source, _looked_at(plan, section, source))
    raise Unplanned


@dataclass(frozen=True)
class Looked:
    """What a look at the texts told.

    Attributes:
        tokens: about how many they will give, rather too few; None of a sample.
        labels: of the texts, or of a sample of them; None where none are asked for.
    """

    tokens: ExpectedTokens | None
    labels: pd.Series | None


def _looked_at(plan: Plan, section: TextSection, source: str) -> Looked | None:
    """A look at the texts, once for a study. Before anything runs: has the source these columns, texts for both sides?

    Of a data set of the hub a sample is looked at; what must be fetched first, not at all.
    """
    if source in plan.missing:
        return None
    whole = is_local(source) or source in TEXTS

    def look() -> Looked:
        limit = section.limit if whole else min(section.limit or SAMPLE, SAMPLE)
        texts = read_corpus(section.model_copy(update={"limit": limit}), source, plan.seed)
        labels = texts.table["label"] if section.label is not None else None
        return Looked(expected_tokens(section, texts) if whole else None, labels)

    return plan.kept(["corpus", source], look)


def tokens_to_train_on(plan: Plan) -> int:
    """About how many embeddings concepts and heads will be trained on, rather too few; 0 where nothing is known yet."""
    embeddings(plan)
    section = plan.the(TextSection)
    assert section is not None
    looked = _looked_at(plan, section, plan.texts(section.source))
    return looked.tokens.train if looked is not None and looked.tokens is not None else section.max_tokens or 0


def column_of_labels(plan: Plan) -> pd.Series | None:
    """The labels of the study's texts; None where there are none, or they must be fetched first."""
    embeddings(plan)  # where something is wrong with the texts, that is told there
    section = plan.the(TextSection)
    assert section is not None
    looked = _looked_at(plan, section, plan.texts(section.source))
    return None if looked is None else looked.labels


def expected_tokens(section: TextSection, texts: Corpus) -> ExpectedTokens:
    """How many embeddings a `[text]` section will ask for."""

    def side(lines: Sequence[str], most: int | None) -> int:
        longest = section.max_length if section.stride is None else math.inf
        tokens = int(sum(min(len(line) / _CHARACTERS, longest) for line in lines))
        return tokens if most is None else min(tokens, most)

    return ExpectedTokens(side(texts.train, section.max_tokens), side(texts.held_out, section.held_out_tokens))


def _stage(plan: Plan, section: TextSection, source: str, looked: Looked | None) -> Stage:
    base, numbers = plan.named(plan.backbone), _layers(plan)
    known = (looked and looked.tokens) or ExpectedTokens(section.max_tokens or 0, section.held_out_tokens or 0)

    def make(work: Work) -> Embeddings:
        from accord.text import extract

        # Concepts and heads are judged on the held-out side: that is a measure, see `accord.study.work.to_make`.
        lms = {TRAIN: work.backbone(base.section, to_make=True), HELD_OUT: work.backbone(base.section)}
        texts = read_corpus(section, source, plan.seed)
        budgets = {HELD_OUT: section.held_out_tokens, TRAIN: section.max_tokens}
        rows = {side: texts.table[texts.table["held_out"] == (side == HELD_OUT)] for side in budgets}

        def extracted(side: str) -> "EmbeddingStore":
            return extract(
                lms[side],
                list(rows[side]["text"]),
                work.folder / side,
                layers=[number for number in numbers if number is not None],
                max_length=section.max_length,
                stride=section.stride,
                dtype=section.dtype,
                max_tokens=budgets[side],
                progress=work.progress,
            )

        stores = dict(zip(budgets, apart([partial(extracted, side) for side in budgets]), strict=True))
        work.all_parts_made()
        for side, store in stores.items():
            _write_texts(rows[side], store, work.folder / f"{side}_texts.parquet")
        sizes = {f"{side}_tokens": store.tokens for side, store in stores.items()}
        return Embeddings(work.folder, {**_describe(texts), **sizes})

    def needs() -> Needs:
        from accord.text.store import store_bytes

        tokens = known.train + known.held_out
        disk = store_bytes(tokens, plan.width or 0, len(numbers), section.dtype)
        return Needs(plan.weights(plan.backbone, to_make(plan.backbone)), disk)

    settings = {
        **base.identity,
        # `unit` is left out where it is not given, so that embeddings from before there was this key stay valid.
        "text": section.model_dump(exclude={"source"} if section.unit else {"source", "unit"}),
        "source": source_fingerprint(source),
        "layers": numbers,
    }
    return Stage("embeddings", "", make, settings, plan.seed, VERSION, needs=needs, spreads=True, seconds=40)


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
        if isinstance(section, TranscoderSection):
            with plan.at("concepts", i, "target"):
                layers.add(plan.number(section.target))
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
    store: "EmbeddingStore", layer: int, size: int, seed: int, steps: int, progress: Progress
) -> "Callable[[int], Iterator[Batch]]":
    """Training batches from any step on, as the trainer takes them; `progress` gets step and steps."""
    from accord.text import batches

    def supply(start: int) -> "Iterator[Batch]":
        for step, batch in enumerate(batches(store, layer, size, seed=seed, start_step=start), start):
            progress(step, steps)
            yield batch

    return supply


def _write_texts(rows: pd.DataFrame, store: "EmbeddingStore", path: Path) -> None:
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
