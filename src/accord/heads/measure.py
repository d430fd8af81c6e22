"""Held-out cross-entropy of a head on the stored embeddings of a layer, and a new head trained on them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from accord.concepts.train import curve_told
from accord.embeddings.result import HELD_OUT, TRAIN, Embeddings
from accord.embeddings.stage import shuffled
from accord.heads.chunked import chunks
from accord.heads.concept_lm import ConceptLM
from accord.heads.config import OriginalHead, TrainedHead
from accord.heads.initial import build_head
from accord.heads.reader import Reader
from accord.heads.train import cross_entropy, train_head, unigram_ce
from accord.heads.vocabulary import next_counts
from accord.lm import Backbone
from accord.lm.perplexity import perplexity
from accord.study.work import Work
from accord.text import Batch, batches, in_order

ROWS_AT_ONCE = 4096
_SAMPLE = 4096  # rows that a new head's first weights are estimated from


@dataclass(frozen=True)
class LayerRows:
    """The embeddings of a layer, both sides."""

    texts: Embeddings
    layer: int

    def held_out(self) -> Iterator[Batch]:
        """The held-out rows, in order."""
        return in_order(self.texts.store(HELD_OUT), self.layer, ROWS_AT_ONCE)

    def train(self) -> Iterator[Batch]:
        """The training rows, in order."""
        return in_order(self.texts.store(TRAIN), self.layer, ROWS_AT_ONCE)


def make_head(
    config: OriginalHead | TrainedHead,
    lm: Backbone,
    reader: Reader,
    rows: LayerRows,
    batch: int,
    work: Work,
) -> tuple[ConceptLM, dict[str, float]]:
    """The language model that a head makes, trained where it must be, and its held-out cross-entropies.

    Args:
        batch: embeddings of an update.
        work: with the folder for checkpoints and the curve of a training, which goes on from what is there.
    """
    counts = next_counts(rows.train(), lm.vocab_size)
    if isinstance(config, OriginalHead):
        model = ConceptLM(lm, rows.layer, reader)
        ce = _on_rows(model, rows) if rows.layer == lm.n_layers else _on_texts(model, rows.texts)
        measures = {"held_out_ce": ce, "start_ce": ce, "seconds": 0.0}
    else:
        training, train = config.training, rows.texts.store(TRAIN)
        sample = next(batches(train, rows.layer, min(_SAMPLE, train.tokens), seed=training.seed)).x
        head = build_head(config, lm, reader, sample, counts=counts).to(lm.device)
        start = cross_entropy(head, reader, rows.held_out())
        supply = shuffled(train, rows.layer, batch, training.seed, training.steps, work.progress)
        fitted = train_head(
            head,
            reader,
            supply,
            held_out=rows.held_out,
            folder=work.folder,
            progress=curve_told(work.progress),
            ranks=work.ranks,
        )
        work.trained()
        ce = cross_entropy(head, reader, rows.held_out())
        measures = {"held_out_ce": ce, "start_ce": start, "seconds": fitted.rows[-1]["seconds"]}
        model = ConceptLM(lm, rows.layer, reader, head)
    return model, {**measures, "unigram_ce": unigram_ce(counts, rows.held_out())}


@torch.no_grad()
def _on_rows(lm: ConceptLM, rows: LayerRows) -> float:
    """−log p of the next token from the stored states of the top layer, in nats: no block needs to run."""
    total, count = 0.0, 0
    for batch in rows.held_out():
        keep = batch.next >= 0
        x, following = batch.x[keep].to(lm.device), batch.next[keep].to(lm.device)
        for part in chunks(len(x), lm.vocab_size):
            logits = lm.backbone.lens(lm.reader.states(x[part]).to(lm.dtype))
            total += float(F.cross_entropy(logits, following[part], reduction="none").double().sum())
        count += len(x)
    return total / count


def _on_texts(lm: ConceptLM, texts: Embeddings) -> float:
    """The same through the blocks above an inner layer; the first token of each text counts too."""
    max_length = texts.store(HELD_OUT).layout.settings["max_length"]
    scores = perplexity(lm, texts.texts(HELD_OUT), max_length=max_length)
    return float(scores.nll.sum() / scores.tokens.sum())
