"""Where concepts fire: the entries of a batch, and the best of them kept for every concept as batches go by.

An entry is one token on which one concept is on. There are tokens × active concepts of them, so none is kept for long:
`Best` holds at most `size` a concept. What it holds after the last batch does not depend on how the tokens were cut
into batches: the best of a whole are among the best of its parts, with the limit on a type of token too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from accord.concepts.base import ConceptModel, Encoded

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Columns = dict[str, NDArray[np.float64] | NDArray[np.int64]]
_MIX = tuple(np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def fired(model: ConceptModel, encoded: Encoded) -> tuple[Ints, Ints, Tensor]:
    """Row, concept and strength [entry] of all that is on, sorted by row and concept.

    A gated kind's concept is on where its gate is open (> .5), any other where its strength is not zero.
    """
    if encoded.sparse is not None:
        pattern, values = encoded.sparse.pattern, encoded.sparse.values
        keep = values != 0
        rows, concepts, strength = pattern.rows[keep], pattern.indices[keep], values[keep]
        order = (rows * pattern.K + concepts).argsort()
        rows, concepts, strength = rows[order], concepts[order], strength[order]
    else:
        rows, concepts = (model.harden(encoded).strength != 0).nonzero(as_tuple=True)
        strength = encoded.strength[rows, concepts]
    return rows.cpu().numpy(), concepts.cpu().numpy(), strength.cpu()


def chance(seed: int, text: Ints, position: Ints, concept: Ints) -> Floats:
    """A number in [0, 1) for every entry, as good as random and always the same: draws and ties hang on it.

    SplitMix64 (Steele, Lea and Flood 2014) of the entry's place.
    """
    x = np.full(len(text), seed, dtype=np.uint64)
    for part in (text, position, concept):
        x = (x ^ part.astype(np.uint64)) * _MIX[0] + _MIX[1]
        x = (x ^ (x >> np.uint64(30))) * _MIX[1]
        x = (x ^ (x >> np.uint64(27))) * _MIX[2]
        x ^= x >> np.uint64(31)
    return np.asarray((x >> np.uint64(11)).astype(np.float64) / 2.0**53)


@dataclass
class Best:
    """For every concept the `size` entries of highest `rank`, best first; with `each`, at most so many of a `type`.

    Entries are columns of equal length: `concept`, `rank`, `chance` (decides ties), `type`, and any others. New ones
    wait until they are as many as those that are kept: so sorting takes as long as what comes in, not what is kept.
    """

    concepts: int
    size: int
    each: int | None = None
    _kept: Columns = field(default_factory=dict)
    _waiting: list[Columns] = field(default_factory=list)

    def add(self, new: Mapping[str, NDArray[np.float64] | NDArray[np.int64]]) -> None:
        """Take in entries."""
        if self.size == 0:
            return
        high = new["rank"] >= self._floor[new["concept"]]
        self._waiting.append({name: column[high] for name, column in new.items()})
        kept = len(self._kept["rank"]) if self._kept else 0
        if sum(len(columns["rank"]) for columns in self._waiting) >= kept:
            self._sort()

    @property
    def columns(self) -> Columns:
        """The best of all that came in."""
        if self._waiting:
            self._sort()
        return self._kept

    def _sort(self) -> None:
        """Keep the best of what is kept and what waits."""
        parts = [self._kept, *self._waiting] if self._kept else self._waiting
        columns: Columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if self.each is not None:
            order = np.lexsort((-columns["chance"], -columns["rank"], columns["type"], columns["concept"]))
            columns = first(columns, order, ("concept", "type"), self.each)
        order = np.lexsort((-columns["chance"], -columns["rank"], columns["concept"]))
        self._kept, self._waiting = first(columns, order, ("concept",), self.size), []
        self.__dict__.pop("_floor", None)

    @cached_property
    def _floor(self) -> Floats:
        """Of each concept that has `size` entries, the lowest rank among them: what is below cannot get in."""
        floor = np.full(self.concepts, -np.inf)
        if self._kept:
            counts = np.bincount(self._kept["concept"], minlength=self.concepts)
            ends = counts.cumsum()
            full = counts == self.size
            floor[full] = self._kept["rank"][ends[full] - 1]
        return floor


def first(columns: Columns, order: Ints, keys: tuple[str, ...], count: int) -> Columns:
    """The columns in this order, of which only the first `count` of each run of equal keys."""
    ordered = {name: column[order] for name, column in columns.items()}
    starts = np.ones(len(order), dtype=bool)
    starts[1:] = np.any([ordered[key][1:] != ordered[key][:-1] for key in keys], axis=0)
    place = np.arange(len(order))
    within = place - np.maximum.accumulate(np.where(starts, place, 0))
    return {name: column[within < count] for name, column in ordered.items()}


@dataclass(frozen=True)
class Bins:
    """The bins of a histogram of strengths: gates (.5, 1] in 20 equal ones, others in quarters of a power of two.

    An unbounded strength is known to a factor of 1.19 however large it is, and the bins need no second pass.
    """

    gated: bool

    @property
    def edges(self) -> Floats:
        """Edges [bins + 1]; bin i holds strengths above edge i and up to edge i + 1, the outer ones all beyond."""
        return np.linspace(0.5, 1.0, 21) if self.gated else np.asarray(2.0 ** (np.arange(-40, 61) / 4))

    def of(self, strength: Floats) -> Ints:
        """The bin of each strength.

        >>> Bins(gated=True).of(np.array([0.51, 0.76, 1.0])).tolist()
        [0, 10, 19]
        """
        return np.clip(np.searchsorted(self.edges, strength, side="left") - 1, 0, len(self.edges) - 2)
