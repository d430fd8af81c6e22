"""Stages that make the language models of a study: heads, trained where they must be, and saved with what they read."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from accord.concepts import load as load_concepts
from accord.heads import (
    ConceptLM,
    Head,
    OriginalHead,
    Reader,
    build_head,
    cross_entropy,
    next_counts,
    save_concept_lm,
    train_head,
    unigram_ce,
)
from accord.heads.chunked import chunks
from accord.heads.config import FinetunedHead, NewHead, head_config
from accord.lm import Backbone
from accord.lm.perplexity import perplexity
from accord.study.concept_stages import HELD_OUT, ROWS_AT_ONCE, TRAIN, held_out_texts, open_store, shuffled
from accord.study.rows import Row
from accord.study.stage import Progress, Run, Stage, finish, found_by, keep_if_same, write_json
from accord.study.store import Recipe
from accord.text import Batch, EmbeddingStore, batches, in_order

HEADS_VERSION = 1  # raise it when the same settings give other files or numbers
_SAMPLE = 4096  # rows that a new head's first weights are estimated from


@dataclass(frozen=True)
class _Rows:
    """The embeddings of a layer, both sides."""

    train: EmbeddingStore
    held_out: EmbeddingStore
    layer: int

    def judged(self) -> Iterator[Batch]:
        return in_order(self.held_out, self.layer, ROWS_AT_ONCE)

    def learned(self) -> Iterator[Batch]:
        return in_order(self.train, self.layer, ROWS_AT_ONCE)


def head_stage(run: Run, row: Row, layer: int, seed: int | None, embeddings: Stage, concepts: Stage | None) -> Stage:
    """Make the language model of a row; without a seed for the backbone, which no seed changes."""
    about = {
        "row": row.name,
        "concepts": row.concepts.title if row.concepts else None,
        "reads": row.head.reads,
        "head": row.head.kind,
        "layer": layer,
        "seed": seed,
    }
    config = head_config(row.head, seed or 0)
    settings = {
        "inputs": [stage.recipe.fingerprint for stage in (embeddings, concepts) if stage is not None],
        **about,
        "config": config.model_dump(),
        "batch": None if isinstance(row.head, OriginalHead) else row.head.training.batch,
    }

    def make(work: Path, progress: Progress) -> dict[str, Any]:
        lm = run.lm()
        keep_if_same(work, found := found_by(lm))
        rows = _Rows(open_store(run, TRAIN), open_store(run, HELD_OUT), layer)
        model = load_concepts(run.at(concepts.name), lm.device) if concepts is not None else None
        reader = Reader(config.reads, model, config.hard)
        if isinstance(config, OriginalHead):
            made = ConceptLM(lm, layer, reader)
            measures = _untrained(run, made, rows)
        else:
            batch = settings["batch"]
            head, measures = _trained(config, lm, reader, rows, int(str(batch)), work, progress)
            made = ConceptLM(lm, layer, reader, head)
        counts = next_counts(rows.learned(), lm.vocab_size)
        save_concept_lm(made, work)
        write_json(work / "metrics.json", {**about, **measures, "unigram_ce": unigram_ce(counts, rows.judged())})
        finish(work, "checkpoints")
        return found

    name = f"heads/{row.label}" + ("" if seed is None else f"-s{seed}")
    return Stage(name, Recipe("heads", HEADS_VERSION, settings, seed or 0), make)


def _trained(
    config: FinetunedHead | NewHead,
    lm: Backbone,
    reader: Reader,
    rows: _Rows,
    batch: int,
    work: Path,
    progress: Progress,
) -> tuple[Head, dict[str, float]]:
    training = config.training
    size = min(_SAMPLE, rows.train.tokens)
    sample = next(batches(rows.train, rows.layer, size, seed=training.seed)).x
    counts = next_counts(rows.learned(), lm.vocab_size)
    head = build_head(config, lm, reader, sample, counts=counts).to(lm.device)
    start = cross_entropy(head, reader, rows.judged())
    supply = shuffled(rows.train, rows.layer, batch, training.seed, training.steps, progress)
    fitted = train_head(head, reader, supply, held_out=rows.judged, folder=work)
    held_out_ce = cross_entropy(head, reader, rows.judged())
    return head, {"held_out_ce": held_out_ce, "start_ce": start, "seconds": fitted.rows[-1]["seconds"]}


def _untrained(run: Run, lm: ConceptLM, rows: _Rows) -> dict[str, float]:
    top = lm.layer == lm.backbone.n_layers
    value = _on_rows(lm, rows) if top else _on_texts(lm, held_out_texts(run), rows.held_out)
    return {"held_out_ce": value, "start_ce": value, "seconds": 0.0}


@torch.no_grad()
def _on_rows(lm: ConceptLM, rows: _Rows) -> float:
    """−log p of the next token from the stored states of the top layer, in nats: no block needs to run."""
    total, count = 0.0, 0
    for batch in rows.judged():
        keep = batch.next >= 0
        x, following = batch.x[keep].to(lm.device), batch.next[keep].to(lm.device)
        for part in chunks(len(x), lm.vocab_size):
            states = lm.reader(x[part])
            assert isinstance(states, torch.Tensor)  # the original head reads no latents
            logits = lm.backbone.lens(states.to(lm.dtype))
            total += float(F.cross_entropy(logits, following[part], reduction="none").double().sum())
        count += len(x)
    return total / count


def _on_texts(lm: ConceptLM, texts: list[str], held_out: EmbeddingStore) -> float:
    """The same through the blocks above an inner layer; the first token of each text counts too."""
    found = perplexity(lm, texts, max_length=held_out.layout.settings["max_length"])
    return float(found.nll.sum() / found.tokens.sum())
