"""Prefix trees packed into rows: every shared prefix once a row, each token seeing its own beginning alone.

A GPU takes one pass over thousands of tokens in the time of many small ones. So where prefixes are shared, nodes of the
tree stand one after another in a row, each with the positions that its tokens have in their sequences; a mask lets a
token see its ancestors and nothing else. Only a `Backbone` whose proof of it holds reads such rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from accord.lm.prefix_tree import Node


@dataclass(frozen=True)
class Tree:
    """How the tokens of packed rows hang together.

    Attributes:
        positions: [row, place] of each token in its sequence.
        ends: [row, place] the place before which all lie that see this token: its own subtree, which follows it.
    """

    positions: Tensor
    ends: Tensor

    def mask(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """What is added to attention: 0 where the place of a row may see another place of it, else the least number.

        `[row, 1, place, place]`, as transformers' models take it.
        """
        ends = self.ends.to(device)
        place = torch.arange(ends.shape[1], device=device)
        seen = (place <= place[:, None]) & (place[:, None] < ends[:, None, :])
        return torch.zeros((), dtype=dtype, device=device).where(seen, torch.finfo(dtype).min)[:, None]


@dataclass
class PackedRow:
    """A packed row in the making; `reads` are (place, index of the sequence that ends there)."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    reads: list[tuple[int, int]] = field(default_factory=list)

    def add(self, node: Node) -> int:
        """Put a node's tokens at the end; the place of its first."""
        begin = len(self.ids)
        self.ids += node.tokens
        self.positions += range(node.start, node.end)
        self.ends += [0] * len(node.tokens)
        return begin

    def close(self, node: Node, begin: int) -> None:
        """All that hangs below a node, which begins there, is in the row."""
        self.ends[begin : begin + len(node.tokens)] = [len(self.ids)] * len(node.tokens)


def pack(roots: Sequence[Node], width: int) -> list[PackedRow]:
    """The trees in rows of at most `width` places; where a row ends within a tree, the next repeats the path to there.

    >>> leaf = Node(2, (8, 9), [(1, 0)])
    >>> row, = pack([Node(0, (5, 6), [], [Node(2, (7,), [(0, 1)]), leaf])], width=8)
    >>> row.ids, row.positions, row.ends
    ([5, 6, 7, 8, 9], [0, 1, 2, 2, 3], [5, 5, 3, 5, 5])

    `width` is at least as long as the longest sequence.
    """
    rows = [PackedRow()]
    path: list[tuple[Node, int]] = []  # from the root to where we are, and where in the present row each begins
    work: list[Node | None] = list(reversed(roots))  # None: what was entered last is done
    while work:
        node = work.pop()
        if node is None:
            rows[-1].close(*path.pop())
            continue
        if len(rows[-1].ids) + len(node.tokens) > width:
            for entered, begin in path:
                rows[-1].close(entered, begin)
            rows.append(PackedRow())
            path = [(entered, rows[-1].add(entered)) for entered, _ in path]
        begin = rows[-1].add(node)
        rows[-1].reads += [(begin + place, i) for place, i in node.reads]
        path.append((node, begin))
        work += [None, *reversed(node.children)]
    return [row for row in rows if row.ids]


def as_batch(rows: Sequence[PackedRow]) -> tuple[Tensor, Tree, Tensor]:
    """Ids, tree and the places to read `[row, slot]` of rows padded to one width; unused slots read place 0."""
    width = max(len(row.ids) for row in rows)
    slots = max(1, max(len(row.reads) for row in rows))

    def padded(values: Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor([[*own, *[0] * (width - len(own))] for own in values])

    places = torch.arange(width)
    ends = padded([row.ends for row in rows])
    tree = Tree(padded([row.positions for row in rows]), ends.where(ends > 0, places + 1))  # padding sees itself alone
    at = torch.tensor([[*(place for place, _ in row.reads), *[0] * (slots - len(row.reads))] for row in rows])
    return padded([row.ids for row in rows]), tree, at
