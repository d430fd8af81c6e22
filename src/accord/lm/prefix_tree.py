"""Which tokens to compute once: a prefix tree over all the sequences that a scoring run must read.

A node covers the tokens that the sequences below it share. Computing a node keeps its keys and values, and its
children go on from there. All nodes that start at the same position can share a batch, whoever their parents are:
their caches have the same length, so right padding is the only padding, and no mask is ever needed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

Ids = tuple[int, ...]


@dataclass
class Node:
    """Tokens from position `start` on; `reads` are (position in the node, index of the sequence that ends there)."""

    start: int
    tokens: Ids
    reads: list[tuple[int, int]] = field(default_factory=list)
    children: list["Node"] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The position after the node's last token: where its children start."""
        return self.start + len(self.tokens)


def common(first: Ids, second: Ids) -> int:
    """How many tokens two sequences share at their start.

    >>> common((5, 6, 7), (5, 6, 8))
    2
    """
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))


def grow(sequences: Sequence[Ids], *, min_saving: int) -> list[Node]:
    """The prefix trees, a root for each first token, of distinct, non-empty sequences.

    >>> [root.tokens for root in grow([(1, 2, 3), (1, 2, 4), (7,)], min_saving=1)]
    [(1, 2), (7,)]

    Args:
        min_saving: a node whose sharing saves fewer token computations than this is dissolved into its children,
            because a batch of its own costs more. Raise it beyond the number of tokens for no sharing at all.
    """
    order = sorted(range(len(sequences)), key=lambda i: sequences[i])
    return [
        node for group in _by_token(sequences, order, 0) for node in _dissolve(_branch(sequences, group, 0), min_saving)
    ]


def _branch(sequences: Sequence[Ids], group: list[int], start: int) -> Node:
    """The subtree of a sorted group of sequences that share at least a token from `start` on."""
    last = sequences[group[-1]]
    node, end = Node(start, ()), start
    # What a long answer is scored by, a sequence for each of its tokens, is one node: a loop, as it may be thousands.
    while group and sequences[group[0]][end] == last[end]:
        first = sequences[group[0]]
        end += common(first[end:], last[end:])
        if len(first) > end:
            break
        node.reads.append((end - start - 1, group[0]))  # sorted, so only the first can end here
        group = group[1:]
    node.tokens = last[start:end]
    node.children = [_branch(sequences, part, end) for part in _by_token(sequences, group, end)]
    return node


def _by_token(sequences: Sequence[Ids], group: list[int], at: int) -> Iterator[list[int]]:
    part: list[int] = []
    for i in group:
        if part and sequences[i][at] != sequences[part[-1]][at]:
            yield part
            part = []
        part.append(i)
    if part:
        yield part


def _dissolve(node: Node, min_saving: int) -> list[Node]:
    """The node with its subtree pruned: inner nodes that save too little are merged into each of their children."""
    children = [pruned for child in node.children for pruned in _dissolve(child, min_saving)]
    if not children:
        return [node]
    saving = len(node.tokens) * (len(children) - 1)
    if len(children) > 1 and saving >= min_saving:
        node.children = children
        return [node]
    for child in children:
        child.start = node.start
        child.tokens = node.tokens + child.tokens
        child.reads = [(position + len(node.tokens), i) for position, i in child.reads]
    children[0].reads = node.reads + children[0].reads  # what ended in the node is read once, not once a child
    return children
