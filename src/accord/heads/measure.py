"""Held-out cross-entropy of a head on the stored embeddings of a layer, and a new head trained on them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from accord.embeddings.result import HELD_OUT, TRAIN, Embeddings
from accord.embeddings.stage import shuffled
from accord.heads.chunked import chunks
from accord.heads.concept_lm import ConceptLM
from accord.heads.config import HeadConfig, OriginalHead
from accord.heads.head import Head
from accord.heads.initial import build_head
from accord.heads.reader import Reader
from accord.heads.train import cross_entropy, train_head, unigram_ce
from accord.heads.vocabulary import next_counts
from accord.lm import Backbone
from accord.lm.perplexity import perplexity
from accord.study.work import Progress
from accord.text import Batch, batches, in_order

ROWS_AT_ONCE = 4096
_SAMPLE = 4096  # rows that a new head's first weights are estimated from


@dataclass(frozen=True)
class LayerRows:
    """The embeddings of a layer, both sides."""

    texts: Embeddings
    layer: int

    def judged(self) -> Iterator[Batch]:
        """The held-out rows, in order."""
        return in_order(self.texts.store(HELD_OUT), self.layer, ROWS_AT_ONCE)

    def learned(self) -> Iterator[Batch]:
        """The training rows, in order."""
        return in_order(self.texts.store(TRAIN), self.layer, ROWS_AT_ONCE)


def make_head(
    config: HeadConfig, lm: Backbone, reader: Reader, rows: LayerRows, batch: int, folder: Path, progress: Progress
) -> tuple[ConceptLM, dict[str, float]]:
    """The language model that a head makes, trained where it must be, and its held-out cross-entropies.

    Args:
        batch: embeddings of an update.
        folder: for checkpoints and the curve of a training, which goes on from what is there.
    """
    counts = next_counts(rows.learned(), lm.vocab_size)
    if isinstance(config, OriginalHead):
        made = ConceptLM(lm, rows.layer, reader)
        value = _on_rows(made, rows) if rows.layer == lm.n_layers else _on_texts(made, rows.texts)
        measures = {"held_out_ce": value, "start_ce": value, "seconds": 0.0}
    else:
        head, measures = _trained(config, lm, reader, rows, batch, folder, progress)
        made = ConceptLM(lm, rows.layer, reader, head)
    return made, {**measures, "unigram_ce": unigram_ce(counts, rows.judged())}


def _trained(
    config: Any, lm: Backbone, reader: Reader, rows: LayerRows, batch: int, folder: Path, progress: Progress
) -> tuple[Head, dict[str, float]]:
    training, train = config.training, rows.texts.store(TRAIN)
    sample = next(batches(train, rows.layer, min(_SAMPLE, train.tokens), seed=training.seed)).x
    counts = next_counts(rows.learned(), lm.vocab_size)
    head = build_head(config, lm, reader, sample, counts=counts).to(lm.device)
    start = cross_entropy(head, reader, rows.judged())
    supply = shuffled(train, rows.layer, batch, training.seed, training.steps, progress)
    fitted = train_head(head, reader, supply, held_out=rows.judged, folder=folder)
    held_out_ce = cross_entropy(head, reader, rows.judged())
    return head, {"held_out_ce": held_out_ce, "start_ce": start, "seconds": fitted.rows[-1]["seconds"]}


@torch.no_grad()
def _on_rows(lm: ConceptLM, rows: LayerRows) -> float:
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


def _on_texts(lm: ConceptLM, texts: Embeddings) -> float:
    """The same through the blocks above an inner layer; the first token of each text counts too."""
    max_length = texts.store(HELD_OUT).layout.settings["max_length"]
    found = perplexity(lm, texts.texts(HELD_OUT), max_length=max_length)
    return float(found.nll.sum() / found.tokens.sum())
