"""Hidden states at the end of many sequences, shared prefixes computed once.

Scoring reads logits off them; probes and explanations read the states themselves.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor

from accord.lm.backbone import Backbone
from accord.lm.batching import check_fits, check_halves, default_batch_tokens
from accord.lm.kv import KeysValues, kv_cache, kv_pairs
from accord.lm.marked import States
from accord.lm.model import LanguageModel
from accord.lm.packing import as_batch, pack
from accord.lm.prefix_tree import Ids, Node, grow
from accord.progress import Progress

Read = Callable[[int, States, list[int]], None]
"""Called with (layer, states [n, d_model], the indices of the n sequences that end there)."""

# A batch may hold this many times its tokens in cached positions, which cost memory and little arithmetic.
_CACHED_PER_TOKEN = 12
# Places of a packed row: the wider, the fewer prefixes are repeated, and the more of a mask is looked at in vain.
_PACKED_WIDTH = 1024
# Sharing must save this many token computations to be worth the handling of a cache.
_MIN_SAVING = 16


def end_states(
    lm: LanguageModel,
    sequences: Sequence[Ids],
    read: Read,
    *,
    layers: Sequence[int] | None = None,
    batch_tokens: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Give `read` the states of `layers` (the top layer by default) at the last position of every sequence.

    Every sequence is read once a layer, in whatever order is cheapest. When memory runs out, batches are halved
    and the work goes on. Only sequences of the same group of the model's limits share a batch. In groups after the
    first, a prefix would be read as in another group, so no prefixes are shared.

    Args:
        sequences: distinct and not empty.
        batch_tokens: tokens of a forward pass; by default chosen for the device.

    Raises:
        AccordError: a sequence is longer than the model reads, or a single sequence exceeds memory.
    """
    check_fits(lm, sequences)
    budget = batch_tokens or default_batch_tokens(lm.device)
    walk = _Walk(lm, list(layers or [lm.n_layers]), read, budget, progress)
    if sequences and _is_packed(lm, max(map(len, sequences))):
        walk.packed(grow(sequences, min_saving=1))
        return
    never = sum(map(len, sequences)) + 1
    forest: list[list[Node]] = []
    for group, which in lm.limits.grouped([len(ids) for ids in sequences]).items():
        roots = grow([sequences[i] for i in which], min_saving=_MIN_SAVING if lm.cacheable and group == 0 else never)
        for node in _all_nodes(roots):
            node.reads = [(position, which[i]) for position, i in node.reads]
        forest.append(roots)
    walk.total = sum(len(node.tokens) for roots in forest for node in _all_nodes(roots))
    for roots in forest:
        walk.descend(roots, {})


def _is_packed(lm: LanguageModel, longest: int) -> TypeGuard[Backbone]:
    """Are sequences of so many tokens read in packed rows?"""
    return isinstance(lm, Backbone) and longest <= lm.packs


@dataclass(frozen=True)
class _CachedRow:
    """A row of a computed batch: the first `length` keys and values of the batch's own tokens."""

    pairs: KeysValues
    row: int
    length: int


@dataclass
class _Walk:
    """One pass over the prefix trees, top down, batch by batch."""

    lm: LanguageModel
    layers: list[int]
    read: Read
    batch_tokens: int
    progress: Progress | None
    done: int = 0
    total: int = 0

    def packed(self, roots: list[Node]) -> None:
        """Compute the trees in packed rows, the longest sequence a row at least."""
        assert isinstance(self.lm, Backbone)
        longest = max(node.end for node in _all_nodes(roots))
        width = max(longest, min(_PACKED_WIDTH, self.batch_tokens))
        rows = pack(roots, width)
        self.total = sum(len(row.ids) for row in rows)
        read = None  # of the batch before: a device computes while what it has computed is read
        while rows:
            batch = rows[: max(1, self.batch_tokens // width)]
            ids, tree, at = as_batch(batch)
            try:
                states = self.lm.hidden(ids, layers=self.layers, at=at, tree=tree)
            except RuntimeError as error:
                check_halves(self.lm, error, rows=len(batch), tokens=width)
                self.batch_tokens = max(1, min(self.batch_tokens, len(batch) * width) // 2)
                continue
            if read is not None:
                self._give(*read)
            read = states, [(row, slot, i) for row, own in enumerate(batch) for slot, (_, i) in enumerate(own.reads)]
            del rows[: len(batch)]
            self._passed(sum(len(row.ids) for row in batch))
        if read is not None:
            self._give(*read)

    def _give(self, states: Mapping[int, States], ends: list[tuple[int, int, int]]) -> None:
        """Have what ends at (row, slot) read, as that of sequence i."""
        if ends:
            rows, slots, which = map(list, zip(*ends, strict=True))
            for layer, state in states.items():
                self.read(layer, state[rows, slots], which)

    def _passed(self, tokens: int) -> None:
        self.done += tokens
        if self.progress:
            self.progress(self.done, self.total)

    def descend(self, nodes: list[Node], paths: dict[int, list[_CachedRow]]) -> None:
        """Compute `nodes`, which all start at the same position, then what hangs below them.

        `paths[id(node)]` are the keys and values of the node's ancestors. As a batch's subtrees are finished before
        the next batch, memory holds the keys and values of at most a batch for each level.
        """
        queue = sorted(nodes, key=lambda node: (bool(node.children), len(node.tokens)), reverse=True)
        while queue:
            batch = self._next_batch(queue)
            try:
                pairs = self._compute(batch, [paths.get(id(node), []) for node in batch])
            except RuntimeError as error:
                check_halves(self.lm, error, rows=len(batch), tokens=batch[0].end)
                self.batch_tokens = max(1, min(self.batch_tokens, len(batch) * len(batch[0].tokens)) // 2)
                continue
            del queue[: len(batch)]
            self._passed(sum(len(node.tokens) for node in batch))
            below: dict[int, list[Node]] = defaultdict(list)
            deeper: dict[int, list[_CachedRow]] = {}
            for row, node in enumerate(batch):
                for child in node.children:
                    below[child.start].append(child)
                    deeper[id(child)] = [*paths.get(id(node), []), _CachedRow(pairs, row, len(node.tokens))]
            for group in below.values():
                self.descend(group, deeper)

    def _next_batch(self, queue: list[Node]) -> list[Node]:
        """As many nodes from the front of the queue as the budget takes, but at least the first."""
        width, end = len(queue[0].tokens), queue[0].end
        rows = max(1, min(self.batch_tokens // width, self.batch_tokens * _CACHED_PER_TOKEN // end))
        # Inner nodes and leaves don't mix: keeping the keys and values of leaves would be for nothing.
        inner = bool(queue[0].children)
        return [node for node in queue[:rows] if bool(node.children) == inner]

    def _compute(self, batch: list[Node], paths: list[list[_CachedRow]]) -> KeysValues:
        """Run a batch, read what ends in it, and return its keys and values if anything hangs below it."""
        width = max(len(node.tokens) for node in batch)
        ids = torch.tensor([node.tokens + (node.tokens[-1],) * (width - len(node.tokens)) for node in batch])
        keep = bool(batch[0].children)
        cache = kv_cache(_join(paths) if paths[0] else []) if keep or paths[0] else None
        states = self.lm.hidden(ids, layers=self.layers, at=_read_positions(batch), cache=cache)
        self._give(states, [(row, slot, i) for row, node in enumerate(batch) for slot, (_, i) in enumerate(node.reads)])
        start = batch[0].start
        return [(k[:, :, start:], v[:, :, start:]) for k, v in kv_pairs(cache)] if keep and cache else []


def _join(paths: list[list[_CachedRow]]) -> KeysValues:
    """Keys and values of each layer for a batch: each row the concatenation of its path; all rows are equally long."""

    def stack(layer: int, side: int) -> Tensor:
        rows = [[cached.pairs[layer][side][cached.row, :, : cached.length] for cached in path] for path in paths]
        return torch.stack([row[0] if len(row) == 1 else torch.cat(row, dim=1) for row in rows])

    return [(stack(layer, 0), stack(layer, 1)) for layer in range(len(paths[0][0].pairs))]


def _read_positions(batch: list[Node]) -> Tensor:
    """Positions [row, slot] that the batch is read at; rows with fewer reads repeat position 0."""
    slots = max(1, max(len(node.reads) for node in batch))
    rows = [[position for position, _ in node.reads] for node in batch]
    return torch.tensor([row + [0] * (slots - len(row)) for row in rows])


def _all_nodes(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from _all_nodes(node.children)
