"""Training a head on the rows of an embedding store, by the trainer of the concept models."""

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accord.arguments import checked
from accord.concepts.base import Learner
from accord.concepts.step import Step
from accord.concepts.train import Fit, Row, fit
from accord.errors import AccordError
from accord.heads.chunked import chunks, mean_over_chunks
from accord.heads.head import Head
from accord.heads.reader import Reader
from accord.heads.vocabulary import Rows
from accord.ranks import Ranks


@checked
def train_head(
    head: Head,
    reader: Reader,
    batches: Callable[[int], Iterator[Rows]],
    *,
    held_out: Callable[[], Iterable[Rows]] | None = None,
    folder: Path | str | None = None,
    progress: Callable[[Row], None] | None = None,
    ranks: Ranks | None = None,
) -> Fit:
    """Train `head` in place to predict the next token from what `reader` reads; its section says for how long.

    Rows at the end of a text have no next token and are skipped. The arguments are those of `accord.concepts.fit`;
    with `held_out`, the curve has `held_out_ce`, nats a token.

    Raises AccordError as `fit` does, and when the reader does not fit the head.
    """
    learner, training = HeadLearner(head, reader), head.config.training
    return fit(learner, batches, training, held_out=held_out, folder=folder, progress=progress, ranks=ranks)


@checked
def cross_entropy(head: Head, reader: Reader, batches: Iterable[Rows]) -> float:
    """Mean −log p of the next token, in nats, over all rows that have a next token; AccordError if none has."""
    return HeadLearner(head, reader).judge(batches)["held_out_ce"]


@checked
def unigram_ce(counts: Tensor, batches: Iterable[Rows]) -> float:
    """Mean −log p of the next token, in nats, of a model that knows only how often tokens follow.

    Args:
        counts: how often each token follows in the training texts [vocab]; one is added to each.
    """
    logp = ((counts + 1).double() / (counts + 1).sum()).log()
    following = torch.cat([batch.next[batch.next >= 0].cpu() for batch in batches])
    return float(-logp[following].mean())


class HeadLearner(Learner):
    """A head and what it reads, as the trainer takes them; the parameters are those of the head alone."""

    by_ranks = True
    objective = "held_out_ce"

    def __init__(self, head: Head, reader: Reader) -> None:
        super().__init__()
        self.head, self.reader = head, reader  # the reader is no module: its concepts are not trained
        self.reads = reader.settings()

    def settings(self) -> dict[str, Any]:
        """Section, size, and what is read."""
        columns = self.head.vocabulary.columns
        return {"head": self.head.config.model_dump(), "width": self.head.width, "columns": columns, **self.reads}

    def receive(self, batch: Rows) -> tuple[tuple[Tensor, Tensor], int]:
        """States and next tokens of the rows that have one."""
        keep = batch.next >= 0
        x, following = batch.x[keep].to(self.device), batch.next[keep].to(self.device)
        if len(x) == 0:
            raise AccordError("no row of this batch has a next token", got=f"{len(batch.next)} rows")
        return (x, following), len(x)

    def rows_of(self, batch: tuple[Tensor, Tensor], rows: slice) -> tuple[Tensor, Tensor]:
        """These rows of states and next tokens."""
        return batch[0][rows], batch[1][rows]

    def loss(self, batch: tuple[Tensor, Tensor], step: Step) -> dict[str, Tensor]:
        """`ce`: mean −log p of the next tokens."""
        x, following = batch

        def nll(part: slice) -> Tensor:
            return self.head.nll(self.reader(x[part]), following[part])

        columns = self.head.vocabulary.columns
        rows, weights = step.count(len(x)), list(self.head.parameters())
        return {"ce": step.sum(mean_over_chunks(nll, chunks(len(x), columns), weights, rows))}

    @torch.no_grad()
    def judge(self, batches: Iterable[Rows]) -> dict[str, float]:
        """`held_out_ce` in nats a token."""
        total, count = 0.0, 0
        for batch in batches:
            if not bool((batch.next >= 0).any()):
                continue
            received, rows = self.receive(batch)
            total += rows * float(self.loss(received, Step(0, 1))["ce"])
            count += rows
        if count == 0:
            raise AccordError("no held-out row has a next token")
        return {"held_out_ce": total / count if math.isfinite(total) else math.nan}
