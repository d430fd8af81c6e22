"""Which tokens a head has a logit for, and what becomes of the others: they stay possible, or nothing can be scored.

A head over the observed vocabulary has a column for every token that follows somewhere in its training texts. The
others share the probability that a token is new, as Good and Turing estimate it: the share of training tokens that
occurred once. It is spread evenly, so every distribution is whole, and perplexities compare with those of full heads.
"""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

from accord.arguments import checked


class Rows(Protocol):
    """Rows of an embedding store, as `accord.text.reader.Batch`: embeddings and the tokens that follow."""

    @property
    def x(self) -> Tensor:
        """Embeddings [n, d]."""
        ...

    @property
    def next(self) -> Tensor:
        """The token that follows each [n]; negative where the text ends, and nothing can be learned."""
        ...


@checked
def next_counts(batches: Iterable[Rows], size: int) -> Tensor:
    """How often each of `size` tokens follows in the batches, [size] int64."""
    counts = torch.zeros(size, dtype=torch.int64)
    for batch in batches:
        following = batch.next[batch.next >= 0].cpu()
        counts += torch.bincount(following, minlength=size)
    return counts


class Vocabulary(nn.Module):
    """The tokens with a column of their own, `observed` [columns], and the mass `unseen` of all others together."""

    observed: Tensor
    unseen: Tensor
    column: Tensor

    def __init__(self, size: int, observed: Tensor | None = None, unseen: float = 0.0) -> None:
        super().__init__()
        self.size = size
        ids = torch.arange(size) if observed is None else observed
        column = torch.full((size,), -1, dtype=torch.int64)
        column[ids] = torch.arange(len(ids))
        self.register_buffer("observed", ids)
        self.register_buffer("unseen", torch.tensor(unseen))
        self.register_buffer("column", column, persistent=False)

    @classmethod
    def of_counts(cls, counts: Tensor) -> "Vocabulary":
        """The tokens with a count above 0 in `counts` [size].

        >>> Vocabulary.of_counts(torch.tensor([3, 0, 1])).observed
        tensor([0, 2])
        """
        ids = counts.nonzero().squeeze(1).cpu()
        if len(ids) == len(counts):
            return cls(len(counts))
        once = max(int((counts == 1).sum()), 1)
        return cls(len(counts), ids, once / (int(counts.sum()) + 1))

    @property
    def columns(self) -> int:
        """Tokens with a logit of their own."""
        return len(self.observed)

    @property
    def whole(self) -> bool:
        """Whether every token has a logit of its own."""
        return self.columns == self.size

    def spread(self, logits: Tensor) -> Tensor:
        """Logits [n, columns] as logits [n, size] over every token."""
        if self.whole:
            return logits
        total = logits.logsumexp(-1, keepdim=True)
        each = (self.unseen.log() - (-self.unseen).log1p()).float() - torch.tensor(self.size - self.columns).log()
        out = (total + each.to(total)).expand(-1, self.size).contiguous()
        return out.index_copy(1, self.observed, logits)

    def nll(self, logits: Tensor, following: Tensor) -> Tensor:
        """−log p [n] of the tokens `following` [n], from logits [n, columns]."""
        if self.whole:
            return nn.functional.cross_entropy(logits, following, reduction="none")
        column = self.column[following]
        own = nn.functional.cross_entropy(logits, column, reduction="none", ignore_index=-1)
        rest = torch.tensor(self.size - self.columns).log().to(own)
        mass = torch.where(column >= 0, -(-self.unseen).log1p(), rest - self.unseen.log())
        return own + mass.to(own)
