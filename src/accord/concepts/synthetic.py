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

    With a `rate` each atom is active by itself, with this probability, and rows differ in how many they have.
    `correlation` in [0, 1) makes atoms 2i and 2i + 1 appear together more often than chance.
    """

    atoms: Tensor  # [A, d], unit rows
    active: int = 3
    noise: float = 0.02  # standard deviation in every dimension
    correlation: float = 0.0
    rate: float | None = None

    @classmethod
    def random(
        cls,
        d: int = 32,
        atoms: int = 64,
        *,
        active: int = 3,
        noise: float = 0.02,
        correlation: float = 0.0,
        rate: float | None = None,
        seed: int = 0,
    ) -> "Superposition":
        """With random unit atoms."""
        shares = 0 <= correlation < 1 and (rate is None or 0 < rate < 1)
        if not (rate is not None or 1 <= active <= atoms) or not shares or (correlation and atoms % 2):
            raise AccordError(
                "no such superposition",
                got=f"{active} active of {atoms} atoms, correlation {correlation}, rate {rate}",
                wanted="1 ≤ active ≤ atoms; correlation in [0, 1), with an even number of atoms; rate in (0, 1)",
            )
        generator = torch.Generator().manual_seed(seed)
        directions = F.normalize(torch.randn(atoms, d, generator=generator), dim=1)
        return cls(directions, active, noise, correlation, rate)

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Embeddings `[n, d]` and the atoms' coefficients `[n, A]`."""
        generator = torch.Generator().manual_seed(seed)
        A, d = self.atoms.shape
        keys = torch.randn(n, A, generator=generator)
        if self.correlation:
            shared = torch.randn(n, A // 2, generator=generator).repeat_interleave(2, 1)
            keys = (1 - self.correlation) ** 0.5 * keys + self.correlation**0.5 * shared
        if self.rate is None:
            size = 0.5 + torch.rand(n, self.active, generator=generator)
            c = torch.zeros(n, A).scatter_(1, keys.topk(self.active).indices, size)
        else:
            c = (keys < torch.special.ndtri(torch.tensor(self.rate))) * (0.5 + torch.rand(n, A, generator=generator))
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
def mutual_information_gap(strength: Tensor, factors: Tensor, bins: int = 20) -> Tensor:
    """How much more the best concept tells of each factor than the second best, as a share of the factor: `[A]`.

    (I(z_1; v) − I(z_2; v))/H(v), z_1 and z_2 the two concepts with the most information on v (Chen et al. 2018, arXiv
    1802.04942), by counts over strengths `[n, K]` in so many bins of equal width, and factors `[n, A]` that are there
    or not (bool). 1: one concept knows it, and no other knows of it. NaN for a factor that is always or never there.

    >>> factors = torch.tensor([[True, False], [False, True], [True, True], [False, False]])
    >>> mutual_information_gap(torch.cat([factors.double(), factors[:, :1].double()], 1), factors).tolist()
    [0.0, 1.0]
    """
    low, high = strength.amin(0), strength.amax(0)
    place = ((strength - low) / (high - low).clamp_min(1e-12) * bins).long().clamp_max(bins - 1)
    on = torch.stack([factors, ~factors], 2).double()  # [n, A, 2]
    joint = torch.stack([torch.einsum("nk,nav->kav", (place == b).double(), on) for b in range(bins)]) / len(strength)
    of_bin, of_factor = joint.sum(3, keepdim=True), joint.sum(0, keepdim=True)
    information = torch.xlogy(joint, joint / (of_bin * of_factor).clamp_min(1e-300)).sum((0, 3))  # [K, A]
    none = information.new_zeros(1, information.shape[1])  # where there is no second concept
    best = torch.cat([information, none]).topk(2, dim=0).values
    rate = factors.double().mean(0)
    entropy = -torch.xlogy(rate, rate) - torch.xlogy(1 - rate, 1 - rate)
    return (best[0] - best[1]) / entropy


@checked
def class_purity(strength: Tensor, classes: Tensor, top: int = 50) -> Tensor:
    """How much of one class the rows are on which a concept is strongest: `[K]`.

    1 − H/H_max, H the entropy of the classes `[n]` (whole numbers from 0) of the `top` strongest rows of `strength
    [n, K]`, of those above 0, and H_max the largest that it could be: log of the number of classes or of those rows,
    the smaller. 1: all are of one class. NaN for a concept that is above 0 on fewer than two rows.

    >>> strength = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.0, 0.3], [0.0, 0.4]])
    >>> class_purity(strength, torch.tensor([0, 0, 1, 0])).tolist()[0]
    1.0
    """
    order = strength.argsort(dim=0, descending=True, stable=True)[:top]
    taken = strength.gather(0, order) > 0  # [top, K]
    members = F.one_hot(classes[order], int(classes.max()) + 1).double() * taken[:, :, None]
    count = taken.sum(0).double()
    share = members.sum(0) / count[:, None].clamp_min(1)
    most = count.clamp_max(float((classes.bincount() > 0).sum())).log()
    return torch.where(count > 1, 1 + torch.xlogy(share, share).sum(1) / most, torch.nan)


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
