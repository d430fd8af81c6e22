"""Reading a store in batches: shuffled without end for training, in order for measuring, and its mean and scale.

The store may be larger than memory. Rows are drawn from a group of shards at a time, which the system keeps in memory
as far as it can; shards are divided into groups anew in every epoch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.arguments import checked
from accord.errors import AccordError
from accord.text.store import EmbeddingStore

_LABELS = ("token", "next", "text", "position")


@dataclass(frozen=True)
class Batch:
    """Rows of a store.

    Attributes:
        x: embeddings [n, d_model], float32.
        token, next, text, position: [n], int64; see `accord.text.store`. `next` is -1 at the end of a text.
    """

    x: Tensor
    token: Tensor
    next: Tensor
    text: Tensor
    position: Tensor


@checked
def batches(
    store: EmbeddingStore,
    layer: int,
    size: int,
    *,
    seed: int = 0,
    start_step: int = 0,
    device: torch.device | str = "cpu",
    group_bytes: int = 2**30,
) -> Iterator[Batch]:
    """Shuffled batches without end; an epoch has each row once, but for those that fill no whole batch at its end.

    >>> from itertools import islice
    >>> from tempfile import mkdtemp
    >>> from accord.text import extract
    >>> lm = accord.load("smollm2-135m")
    >>> store = extract(lm, ["Bees make honey.", "It rained."], mkdtemp(), layers=[30])
    >>> [len(batch.x) for batch in islice(batches(store, 30, size=4), 5)]  # without end
    [4, 4, 4, 4, 4]

    Args:
        size: rows of a batch.
        seed: fixes the order.
        start_step: begin with this batch, at once: batch i is the same whenever reading began.
        device: where the batches go.
        group_bytes: embeddings of the shards that are mixed with each other; two shards at least.

    Raises:
        AccordError: no such layer, or the store has fewer rows than a batch.
    """
    steps = store.tokens // size if size > 0 else 0
    if not steps:
        raise AccordError("a batch has at least one row, and no more than the store", got=size, wanted=store.tokens)
    largest = max(store.layout.shards) * store.row_bytes
    per_group = max(2, group_bytes // largest)
    epoch: _Order | None = None
    for step in count(start_step):
        number, place = divmod(step, steps)
        if epoch is None or epoch.key[1] != number:
            epoch = _Order.shuffled(store, layer, per_group, (seed, number))
        yield epoch.take(place * size, (place + 1) * size, device)


@checked
def in_order(store: EmbeddingStore, layer: int, size: int, *, device: torch.device | str = "cpu") -> Iterator[Batch]:
    """All rows once, in the order of the texts; the last batch may be smaller.

    >>> from tempfile import mkdtemp
    >>> from accord.text import extract
    >>> lm = accord.load("smollm2-135m")
    >>> store = extract(lm, ["Bees make honey.", "It rained."], mkdtemp(), layers=[30])
    >>> [tuple(batch.x.shape) for batch in in_order(store, 30, size=6)]
    [(6, 576), (3, 576)]

    Raises AccordError if there is no such layer.
    """
    order = _Order.plain(store, layer)
    for begin in range(0, store.tokens, size):
        yield order.take(begin, min(begin + size, store.tokens), device)


@dataclass
class _Order:
    """An order of all rows: groups of shards one after another, the rows of a group shuffled by `key`, if any."""

    store: EmbeddingStore
    layer: int
    groups: list[list[int]]
    key: tuple[int, ...]
    ends: NDArray[np.int64]
    """[group] rows up to its end."""
    open: "tuple[int, _Group] | None" = None

    @classmethod
    def shuffled(cls, store: EmbeddingStore, layer: int, per_group: int, key: tuple[int, int]) -> "_Order":
        shards = np.random.default_rng(key).permutation(len(store.layout.shards)).tolist()
        return cls._of(store, layer, [shards[i : i + per_group] for i in range(0, len(shards), per_group)], key)

    @classmethod
    def plain(cls, store: EmbeddingStore, layer: int) -> "_Order":
        return cls._of(store, layer, [[i] for i in range(len(store.layout.shards))], ())

    @classmethod
    def _of(cls, store: EmbeddingStore, layer: int, groups: list[list[int]], key: tuple[int, ...]) -> "_Order":
        sizes = [sum(store.layout.shards[i] for i in group) for group in groups]
        return cls(store, layer, groups, key, np.cumsum(sizes, dtype=np.int64))

    def take(self, begin: int, end: int, device: torch.device | str) -> Batch:
        """Rows `begin` to `end` of the order; they may lie in several groups."""
        parts: list[dict[str, Tensor]] = []
        while begin < end:
            number = int(np.searchsorted(self.ends, begin, side="right"))
            first = int(self.ends[number - 1]) if number else 0
            upto = min(end, int(self.ends[number]))
            parts.append(self._group(number).take(begin - first, upto - first))
            begin = upto
        whole = {name: torch.cat([part[name] for part in parts]).to(device) for name in parts[0]}
        return Batch(**whole)

    def _group(self, number: int) -> "_Group":
        if self.open is None or self.open[0] != number:
            shards = [self.store.shard(i, self.layer) for i in self.groups[number]]
            rows = sum(len(shard["x"]) for shard in shards)
            order = np.random.default_rng([*self.key, number]).permutation(rows) if self.key else np.arange(rows)
            self.open = number, _Group(shards, order)
        return self.open[1]


class _Group:
    """Some mapped shards, and an order of their rows."""

    def __init__(self, shards: list[dict[str, Tensor]], order: NDArray[np.int64]) -> None:
        self.shards, self.order = shards, order
        self.ends = np.cumsum([len(shard["x"]) for shard in shards])

    def take(self, begin: int, end: int) -> dict[str, Tensor]:
        """Rows `begin` to `end` of the order, gathered from the shards they lie in."""
        rows = self.order[begin:end]
        owner = np.searchsorted(self.ends, rows, side="right")
        width = self.shards[0]["x"].shape[1]
        tensors = {"x": torch.empty(len(rows), width)}
        tensors.update({name: torch.empty(len(rows), dtype=torch.int64) for name in _LABELS})
        for number in np.unique(owner).tolist():
            where = np.flatnonzero(owner == number)
            inside = torch.from_numpy(rows[where] - (self.ends[number - 1] if number else 0))
            for name, tensor in tensors.items():
                tensor[torch.from_numpy(where)] = self.shards[number][name][inside].to(tensor.dtype)
        return tensors
