"""Embeddings whose concepts are known: does a concept model find them?

Superposition: more atoms (unit directions) than dimensions, a few active at a time, noise on top. A kind of
concept model that cannot recover such atoms cannot be trusted to find concepts where nobody knows them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from accord.arguments import checked
from accord.concepts.base import ConceptModel, Set
from accord.errors import AccordError

MATCHED = 0.9  # cosine from which an atom counts as recovered


@dataclass(frozen=True)
class Superposition:
    """x = Σ_{a active} c_a · atom_a + noise, c uniform in [0.5, 1.5]; exactly `active` atoms a row.

    `correlation` in [0, 1) makes atoms 2i and 2i + 1 appear together more often than chance.
    """

    atoms: Tensor  # [A, d], unit rows
    active: int = 3
    noise: float = 0.02  # standard deviation in every dimension
    correlation: float = 0.0

    @classmethod
    def random(
        cls,
        d: int = 32,
        atoms: int = 64,
        *,
        active: int = 3,
        noise: float = 0.02,
        correlation: float = 0.0,
        seed: int = 0,
    ) -> "Superposition":
        """With random unit atoms."""
        if not 1 <= active <= atoms or not 0 <= correlation < 1 or (correlation and atoms % 2):
            raise AccordError(
                "no such superposition",
                got=f"{active} active of {atoms} atoms, correlation {correlation}",
                wanted="1 ≤ active ≤ atoms; correlation in [0, 1), with an even number of atoms",
            )
        generator = torch.Generator().manual_seed(seed)
        return cls(F.normalize(torch.randn(atoms, d, generator=generator), dim=1), active, noise, correlation)

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Embeddings `[n, d]` and the atoms' coefficients `[n, A]`."""
        generator = torch.Generator().manual_seed(seed)
        A, d = self.atoms.shape
        keys = torch.randn(n, A, generator=generator)
        if self.correlation:
            shared = torch.randn(n, A // 2, generator=generator).repeat_interleave(2, 1)
            keys = (1 - self.correlation) ** 0.5 * keys + self.correlation**0.5 * shared
        size = 0.5 + torch.rand(n, self.active, generator=generator)
        c = torch.zeros(n, A).scatter_(1, keys.topk(self.active).indices, size)
        return c @ self.atoms + self.noise * torch.randn(n, d, generator=generator), c

    def batches(self, size: int, seed: int = 0) -> Callable[[int], Iterator[Tensor]]:
        """Endless training batches `[size, d]`, each fixed by the seed and its step, as `fit` wants them."""

        def start(step: int) -> Iterator[Tensor]:
            while True:
                yield self.sample(size, (seed + 1) * 1_000_003 + step)[0]
                step += 1

        return start


@dataclass(frozen=True)
class Match:
    """The best pairing of concepts and atoms."""

    cosines: Tensor  # [A] with the concept paired to each atom
    concepts: Tensor  # [A] its number; −1 where there are fewer concepts than atoms

    @property
    def fraction(self) -> float:
        """Share of atoms whose concept has cosine ≥ .9."""
        return float((self.cosines >= MATCHED).double().mean())

    @property
    def mean_cosine(self) -> float:
        """Over all atoms."""
        return float(self.cosines.mean())


@checked
def match(directions: Tensor, atoms: Tensor) -> Match:
    """Pair atoms `[A, d]` with concepts' directions `[K, d]`, one to one, for the largest sum of cosines.

    Hungarian method; cosines are signed, since a concept that writes the opposite is not the atom.

    >>> match(directions=torch.eye(3), atoms=torch.eye(3)[[2, 0]]).concepts
    tensor([2, 0])
    """
    cosines = F.normalize(atoms.double(), dim=1) @ F.normalize(directions.double(), dim=1).T
    rows, columns = linear_sum_assignment(cosines.numpy(), maximize=True)
    best = torch.zeros(len(atoms), dtype=torch.float64)
    concepts = torch.full((len(atoms),), -1)
    best[rows], concepts[rows] = cosines[rows, columns], torch.from_numpy(columns)
    return Match(best, concepts)


@checked
@torch.no_grad()
def ablation_effects(model: ConceptModel, x: Tensor, concept: int) -> Tensor:
    """What the concept adds to the reconstruction of the raw rows of `x [n, d]` it fires on: `[fired, d]`."""
    on = model.harden(model.encode(x)).strength[:, concept] != 0
    rows = model.encode(x[on])
    return model.decode(rows) - model.decode(model.edit(rows, {concept: Set(0.0)}))


@checked
def concept_directions(model: ConceptModel, x: Tensor) -> Tensor:
    """The raw-space direction each concept writes, `[K, d]`.

    A linear decoder's own where the kind has fixed ones; else the mean effect of ablating the concept over
    the rows of `x [n, d]` it fires on (zeros where it never does).
    """
    fixed = model.directions()
    if fixed is not None:
        return fixed
    effects = [ablation_effects(model, x, k) for k in range(model.K)]
    return torch.stack([e.mean(0) if len(e) else x.new_zeros(model.d) for e in effects])


@checked
def intervention_consistency(model: ConceptModel, x: Tensor) -> Tensor:
    """How much alike the effects of turning a concept off are, over the rows of `x [n, d]` it fires on: `[K]`.

    The length, in [0, 1], of the mean of the effects' unit vectors. 1: turning the concept off always moves the
    reconstruction the same way. That is trivially so for kinds whose decoder is linear with fixed directions, and
    says something only of the others. NaN for concepts that never fire.
    """
    lengths = []
    for k in range(model.K):
        units = F.normalize(ablation_effects(model, x, k).double(), dim=1)
        lengths.append(units.mean(0).norm() if len(units) else torch.tensor(float("nan"), dtype=torch.float64))
    return torch.stack(lengths)
