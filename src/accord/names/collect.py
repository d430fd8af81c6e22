"""One pass over an embedding store: what every concept does there, and examples of it.

Memory goes with concepts × examples: counts, sums and histograms are added up, examples are kept by `Best`, and
nothing that has a place for every token outlives its batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from accord.concepts.base import ConceptModel
from accord.names.entries import Best, Bins, Columns, Floats, Ints, chance, fired
from accord.names.labels import TextLabels
from accord.text.reader import Batch, in_order
from accord.text.store import EmbeddingStore

BEFORE, AFTER = 16, 8  # tokens of an example's context
_ROWS = 4096  # read at a time, and fewer where strengths of all concepts would be more than _STRENGTHS numbers
_STRENGTHS = 2**25
_LONGEST = 8 * _ROWS  # a longer text is seen in pieces
_SHORTEST = 5  # tokens of a text that may be a top text


@dataclass(frozen=True)
class Sizes:
    """How much is kept for a concept; 0 for none.

    Attributes:
        top: strongest entries, at most `each` of a type of token.
        sample: entries drawn at random from all on which it fires.
        texts: texts with the highest mean strength.
        pool: contexts drawn at random from the store, the same for all concepts.
    """

    top: int = 0
    each: int = 3
    sample: int = 100
    texts: int = 0
    pool: int = 0


class Collected:
    """What one pass over a store found.

    Attributes:
        tokens, frequency: rows of the store, and how many are of each type of token.
        count, total, largest: [K] entries of each concept, sum of their strengths, the largest.
        histogram: [K, bins] of strengths; see `Bins`.
        content: [K, E] sum of strength · content over a concept's entries; None for kinds without content.
        top, sample, texts: see `Sizes`; `texts` has mean strengths as ranks.
        pool: (text, position) of the pool's contexts; `quiet [pool, K]`: no token in them excites the concept.
    """

    def __init__(self, model: ConceptModel, sizes: Sizes) -> None:
        K = model.K
        self.bins, self.tokens, self.frequency = Bins(model.gated), 0, np.zeros(0, dtype=np.int64)
        self.count, self.total, self.largest = np.zeros(K, dtype=np.int64), np.zeros(K), np.zeros(K)
        self.histogram = np.zeros((K, len(self.bins.edges) - 1), dtype=np.int64)
        self.content: Floats | None = None
        self.top, self.sample = Best(K, sizes.top, sizes.each), Best(K, sizes.sample)
        self.texts = Best(K, sizes.texts)
        self.pool: list[tuple[int, int]] = []
        self.quiet: NDArray[np.bool_] = np.ones((sizes.pool, K), dtype=bool)


@torch.no_grad()
def collect(
    model: ConceptModel,
    store: EmbeddingStore,
    layer: int,
    types: Ints,
    sizes: Sizes,
    *,
    labels: TextLabels | None = None,
    first_label: int = 0,
    seed: int = 0,
    rows: int | None = None,
) -> Collected:
    """Read the store once.

    Args:
        types: [vocab] the type of each token: forms that count as the same word share one.
        labels: takes in which texts excite which concepts; the store's first text is number `first_label` in it.
        seed: fixes what is drawn.
        rows: read at a time, more or less: results do not depend on it, float rounding aside. By default as many as
            suit the number of concepts.
    """
    collected = Collected(model, sizes)
    rows = rows or max(1, min(_ROWS, _STRENGTHS // model.K))
    drawn = np.random.default_rng(seed).choice(store.tokens, min(sizes.pool, store.tokens), replace=False)
    pool = np.sort(drawn)
    collected.quiet = collected.quiet[: len(pool)]
    collected.frequency = np.zeros(int(types.max()) + 1, dtype=np.int64)
    for batch in whole_texts(in_order(store, layer, rows)):
        begin, collected.tokens = collected.tokens, collected.tokens + len(batch.text)
        collected.frequency += np.bincount(types[batch.token.numpy()], minlength=len(collected.frequency))
        rows_of, concepts = _take_in(collected, model, batch, types, seed)
        text, position = batch.text.numpy(), batch.position.numpy()
        _add_pool(
            collected, text, position, rows_of, concepts, pool[(pool >= begin) & (pool < collected.tokens)] - begin
        )
        if labels is not None:
            labels.see(np.unique(text) + first_label)
            labels.add(*_pairs(text[rows_of] + first_label, concepts, model.K))
    return collected


def whole_texts(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same rows in batches that end where a text ends; a text of more than `_LONGEST` rows in pieces."""
    left: Batch | None = None
    for batch in batches:
        batch = batch if left is None else _join(left, batch)
        cut = int((batch.text != batch.text[-1]).sum())  # where the last text, which may go on, begins
        if cut == 0 and len(batch.text) >= _LONGEST:
            cut = len(batch.text)
        left = _cut(batch, cut, None)
        if cut:
            yield _cut(batch, 0, cut)
    if left is not None and len(left.text):
        yield left


def _cut(batch: Batch, begin: int, end: int | None) -> Batch:
    return Batch(**{name: column[begin:end] for name, column in vars(batch).items()})


def _join(first: Batch, second: Batch) -> Batch:
    return Batch(**{name: torch.cat([column, getattr(second, name)]) for name, column in vars(first).items()})


def _take_in(collected: Collected, model: ConceptModel, batch: Batch, types: Ints, seed: int) -> tuple[Ints, Ints]:
    """Add a batch to all but pool and labels; rows and concepts of its entries."""
    encoded = model.encode(batch.x.to(model.mean))
    rows, concepts, strength = fired(model, encoded)
    value = strength.double().numpy()
    if encoded.content is not None:
        on = torch.from_numpy(rows), torch.from_numpy(concepts)
        terms = (strength[:, None] * encoded.content.cpu()[on]).double()
        sums = torch.zeros(model.K, terms.shape[1], dtype=torch.float64).index_add_(0, on[1], terms).numpy()
        collected.content = sums if collected.content is None else collected.content + sums
    collected.count += np.bincount(concepts, minlength=model.K)
    collected.total += np.bincount(concepts, value, minlength=model.K)
    np.maximum.at(collected.largest, concepts, value)
    bins = collected.histogram.shape[1]
    collected.histogram += np.bincount(concepts * bins + collected.bins.of(value), minlength=model.K * bins).reshape(
        -1, bins
    )
    text, position = batch.text.numpy(), batch.position.numpy()
    columns = {
        "concept": concepts,
        "strength": value,
        "text": text[rows],
        "position": position[rows],
        "type": types[batch.token.numpy()[rows]],
        "chance": chance(seed, text[rows], position[rows], concepts),
    }
    collected.top.add({**columns, "rank": value})
    if collected.sample.size:
        beside = _beside(text, rows, concepts, model.K, columns["chance"])
        collected.sample.add({**columns, "rank": columns["chance"], "beside": beside})
    if collected.texts.size:
        collected.texts.add(_means(text, rows, concepts, value, model.K, seed))
    return rows, concepts


def _beside(text: Ints, rows: Ints, concepts: Ints, K: int, draw: Floats) -> Ints:
    """For each entry how far from it, within its context, is a token on which its concept is off; 0 for none.

    Where there are several, `draw` [entry] decides.
    """
    steps = np.array([step for step in range(-BEFORE, AFTER + 1) if step])
    flat = rows * K + concepts  # sorted: see `fired`
    beside = np.zeros(len(rows), dtype=np.int64)
    start = (draw * len(steps)).astype(np.int64)
    for turn in range(len(steps)):
        left = np.flatnonzero(beside == 0)
        if not len(left):
            break
        step = steps[(start[left] + turn) % len(steps)]
        row = rows[left] + step
        there = (row >= 0) & (row < len(text))
        there &= text[np.clip(row, 0, len(text) - 1)] == text[rows[left]]
        place = row * K + concepts[left]
        at = np.clip(np.searchsorted(flat, place), 0, len(flat) - 1)
        good = there & (flat[at] != place)
        beside[left[good]] = step[good]
    return beside


def _pairs(text: Ints, concepts: Ints, K: int) -> tuple[Ints, Ints]:
    """Text and concept of every pair that occurs, once each."""
    pairs = np.unique(text * K + concepts)
    return pairs // K, pairs % K


def _means(text: Ints, rows: Ints, concepts: Ints, value: Floats, K: int, seed: int) -> Columns:
    """Every concept's mean strength over the tokens of each text in which it fires, as entries for `Best`."""
    own, lengths = np.unique(text, return_counts=True)
    pairs, inverse = np.unique(np.searchsorted(own, text[rows]) * K + concepts, return_inverse=True)
    keep = lengths[pairs // K] >= _SHORTEST
    mean = (np.bincount(inverse, value, minlength=len(pairs)) / lengths[pairs // K])[keep]
    which, concept = own[pairs // K][keep], (pairs % K)[keep]
    draws = chance(seed, which, np.zeros_like(which), concept)
    return {"concept": concept, "rank": mean, "text": which, "type": which, "chance": draws}


def _add_pool(collected: Collected, text: Ints, position: Ints, rows: Ints, concepts: Ints, inside: Ints) -> None:
    """Note which concepts fire in the contexts of the pool that lie in this batch."""
    for row in inside.tolist():
        context = np.arange(max(0, row - BEFORE), min(len(text), row + AFTER + 1))
        context = context[text[context] == text[row]]
        begin, end = np.searchsorted(rows, [context[0], context[-1] + 1])
        collected.quiet[len(collected.pool), concepts[begin:end]] = False
        collected.pool.append((int(text[row]), int(position[row])))
