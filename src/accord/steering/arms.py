"""What is done to a concept, and what is done instead as a control: doses and arms of an experiment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from accord.arguments import checked
from accord.concepts.base import Edit, Scale
from accord.errors import AccordError
from accord.lm.edited import StateEdit
from accord.lm.model import LanguageModel
from accord.steering.edits import AddDirection, SameNorm
from accord.steering.result import CONCEPT, OTHER, PUSH
from accord.steering.target import Target
from accord.steering.typical import Typical

_NEAREST = 10  # concepts of nearly the same rate that a control is drawn from


@dataclass(frozen=True)
class Dose:
    """How a concept is edited.

    Attributes:
        kind: "factor" multiplies its strength where it is active; "typical" sets it, at every position, to so many
            times its typical strength; "added" adds, at every position, so many times what it writes on average where
            it is active. Where a latent was not active the last two do the same. A concept with an embedding of
            its own has learned to make that small where it is off: setting its gate there writes next to nothing.
    """

    kind: Literal["factor", "typical", "added"]
    value: float

    def __post_init__(self) -> None:
        if not 0 <= self.value < float("inf") or (self.kind, self.value) in (("factor", 1.0), ("added", 0.0)):
            raise AccordError(
                "no dose", got=f"{self.kind} {self.value}", wanted="0 or more; no factor of 1, nothing added"
            )

    @property
    def sign(self) -> int:
        """Whether the concept is turned up (1) or down (−1).

        >>> Dose("factor", 0.5).sign, Dose("added", 4.0).sign
        (-1, 1)
        """
        return -1 if self.value == 0 or (self.kind == "factor" and self.value < 1) else 1

    def edit(self, concept: int, typical: Typical) -> Edit:
        """The edit of a concept's strength."""
        return Scale(self.value) if self.kind == "factor" else typical.edit(concept, self.value)

    def direction(self, concept: int, typical: Typical) -> Tensor:
        """What is added to every state [d]; for "added"."""
        typical.edit(concept, self.value)  # raises
        return self.value * typical.written[concept]


@dataclass(frozen=True)
class Arm:
    """One way to run the model: with strengths edited, or with its states pushed."""

    control: str
    concept: int
    edits: Mapping[int, Edit]
    push: StateEdit | None = None

    def model(self, target: Target) -> LanguageModel:
        """The model that is run."""
        if self.push is not None:
            return target.pushed(self.push)
        return target.steered(self.edits) if self.edits else target.plain


def arms(target: Target, typical: Typical, concept: int, other: int, dose: Dose, seed: int) -> list[Arm]:
    """The concept and its two controls: another concept of equal rate at its own dose, and a random direction that
    moves every state exactly as far as the concept's edit does, and against itself where the concept is turned down.
    All three change what `Target.plain` has.
    """
    return joint_arms(target, typical, {concept: dose}, {concept: other}, seed)


def joint_arms(
    target: Target, typical: Typical, doses: Mapping[int, Dose], others: Mapping[int, int], seed: int
) -> list[Arm]:
    """`arms` of several concepts edited at once, each with its own dose; an arm's `concept` is the first of them.

    The random concepts get the doses of those that they stand for, and the random direction moves every state as far as
    all edits together do: against itself where all of them turn down.

    Args:
        doses: concept -> dose, all "added" or none.
        others: concept -> the control of equal rate; see `equal_rates`.

    Raises:
        AccordError: no concept, added doses beside others, or a concept was never active.
    """
    if not doses or len({dose.kind == "added" for dose in doses.values()}) > 1:
        got = ", ".join(f"{concept}: {dose.kind}" for concept, dose in doses.items()) or "none"
        raise AccordError("concepts are edited together in one way", got=got, wanted="all added, or none of them")
    first = next(iter(doses))
    sign = -1 if all(dose.sign < 0 for dose in doses.values()) else 1
    unit = sign * random_unit(target, seed, first)
    if doses[first].kind == "added":
        own = torch.stack([dose.direction(concept, typical) for concept, dose in doses.items()]).sum(0)
        random = torch.stack([dose.direction(others[concept], typical) for concept, dose in doses.items()]).sum(0)
        added = {CONCEPT: own, OTHER: random, PUSH: float(own.norm()) * unit}
        base = target.base
        return [
            Arm(control, others[first] if control == OTHER else first, {}, AddDirection(target.layer, vector, base))
            for control, vector in added.items()
        ]
    edits = {concept: dose.edit(concept, typical) for concept, dose in doses.items()}
    push = SameNorm(target.change(edits), unit)
    return [
        Arm(CONCEPT, first, edits),
        Arm(
            OTHER,
            others[first],
            {others[concept]: dose.edit(others[concept], typical) for concept, dose in doses.items()},
        ),
        Arm(PUSH, first, {}, push),
    ]


def random_unit(target: Target, seed: int, concept: int) -> Tensor:
    """A random direction [d] of norm 1, as unequal across dimensions as the states are.

    A few dimensions of hidden states vary hundreds of times as much as others. A direction drawn evenly would be
    outlandish, and do more than any concept for being so.
    """
    generator = torch.Generator().manual_seed(int(np.random.default_rng([seed, concept]).integers(2**31)))
    drawn = torch.randn(target.concepts.d, generator=generator) * target.concepts.scale.cpu()
    unit: Tensor = drawn / drawn.norm()
    return unit


@checked
def equal_rates(typical: Typical, chosen: Sequence[int], seed: int) -> dict[int, int]:
    """For each chosen concept another, not chosen and nobody else's, drawn from the ten of nearest rate.

    >>> nothing = torch.zeros(4)
    >>> typical = Typical(torch.tensor([0.0, 0.1, 0.3, 0.9]), nothing, nothing, nothing, nothing, nothing, tokens=1000)
    >>> equal_rates(typical, [1], seed=0)
    {1: 3}

    Raises AccordError if there are too few live concepts for that.
    """
    generator = np.random.default_rng(seed)
    left = set(torch.nonzero(typical.rate > 0).flatten().tolist()) - set(chosen)
    others = {}
    for concept in chosen:
        if not left:
            raise AccordError("too few live concepts for controls", got=len(chosen), wanted="half of them or fewer")
        distance = {k: abs(float((typical.rate[k] / typical.rate[concept]).log())) for k in left}
        near = sorted(left, key=lambda k: (distance[k], k))[:_NEAREST]
        others[concept] = near[int(generator.integers(len(near)))]
        left.remove(others[concept])
    return others
