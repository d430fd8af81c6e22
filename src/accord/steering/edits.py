"""What steering does to a layer's states: add a direction, amplify one, or edit concepts; each is a `StateEdit`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from accord.concepts.base import ConceptModel, Edit
from accord.heads.reader import Reader, edits_as_json, fingerprint


@dataclass(frozen=True)
class AddDirection:
    """Adds the same vector [d] to every state: activation addition (Turner et al., arXiv 2308.10248).

    >>> AddDirection(3, torch.tensor([1.0, 0.0]))(torch.tensor([[5.0, 5.0]])).tolist()
    [[6.0, 5.0]]

    Attributes:
        base: a change of the layer that comes first, if any.
    """

    layer: int
    vector: Tensor
    base: "EditConcepts | None" = None

    def __call__(self, states: Tensor) -> Tensor:
        """States [n, d] plus the vector."""
        x = self.base(states).to(states) if self.base else states
        return x + self.vector.to(states)

    def settings(self) -> dict[str, Any]:
        """The layer, the vector's identity and norm, and what comes first."""
        vector = fingerprint({"vector": self.vector})
        settings = {"kind": "direction", "layer": self.layer, "vector": vector, "norm": float(self.vector.norm())}
        return {**settings, "base": self.base.settings()} if self.base else settings


@dataclass(frozen=True)
class AmplifyDirection:
    """Adds to every state h what it has along a direction u [d] of norm 1, less what is usual: factor · (h·u − center).

    >>> push = AmplifyDirection(3, torch.tensor([1.0, 0.0]), center=2.0, factor=0.5)
    >>> push(torch.tensor([[4.0, 1.0], [0.0, 1.0]])).tolist()  # above the center it goes up, below it down
    [[5.0, 1.0], [-1.0, 1.0]]

    Unlike a constant direction, which moves all states alike, this moves states apart (or together, below 0).
    """

    layer: int
    direction: Tensor
    center: float
    factor: float

    def __call__(self, states: Tensor) -> Tensor:
        """States [n, d], amplified along the direction."""
        along = states.float() @ self.direction.to(states.device) - self.center
        return states + (self.factor * along[:, None] * self.direction.to(states.device)).to(states)

    def settings(self) -> dict[str, Any]:
        """The layer, the direction's identity, center and factor."""
        direction = fingerprint({"direction": self.direction})
        return {
            "kind": "amplify",
            "layer": self.layer,
            "direction": direction,
            "center": self.center,
            "factor": self.factor,
        }


@dataclass(frozen=True)
class EditConcepts:
    """Turns concepts of a concept model off or up.

    >>> from accord.concepts import Scale, build, read_config
    >>> model = build(read_config({"kind": "topk", "size": 16, "k": 2}), d=4)
    >>> states = torch.ones(2, 4)
    >>> torch.allclose(EditConcepts(3, model, {5: Scale(1.0)})(states), states)  # also what the concepts do not explain
    True
    >>> torch.allclose(EditConcepts(3, model, {k: Scale(0.0) for k in range(16)})(states), states)
    False

    Attributes:
        concepts: made on the states of `layer`.
        edits: concept -> new strength or factor.
        keep_error: add only what the edits change of the reconstruction, so that whatever the concepts do not explain
            stays as it is; else the edited reconstruction takes the state's place.
        hard: with gates open or shut, for gated kinds.
    """

    layer: int
    concepts: ConceptModel
    edits: Mapping[int, Edit]
    keep_error: bool = True
    hard: bool = False

    @torch.no_grad()
    def __call__(self, states: Tensor) -> Tensor:
        """The states [n, d] with their concepts edited."""
        x = states.float()
        encoded = Reader("reconstruction", self.concepts, self.hard).encode(x)
        edited = self.concepts.decode(self.concepts.edit(encoded, self.edits))
        return x + edited - self.concepts.decode(encoded) if self.keep_error else edited

    def unedited(self, states: Tensor) -> Tensor:
        """The states [n, d] that the edits change: as they are, or their reconstruction where its error is dropped."""
        return states.float() if self.keep_error else replace(self, edits={})(states)

    def settings(self) -> dict[str, Any]:
        """Layer, the concept model's identity, the edits."""
        return {
            "kind": "concepts",
            "layer": self.layer,
            "concepts": fingerprint(self.concepts.state_dict()),
            "edits": edits_as_json(self.edits),
            "keep_error": self.keep_error,
            "hard": self.hard,
        }


@dataclass(frozen=True)
class SameNorm:
    """Adds a direction, in every row as long as what an edit changes there: what any push of that size would do.

    Attributes:
        edit: whose change is measured and not made.
        unit: the direction [d], of norm 1.
    """

    edit: EditConcepts
    unit: Tensor

    @property
    def layer(self) -> int:
        """The edit's."""
        return self.edit.layer

    def __call__(self, states: Tensor) -> Tensor:
        """‖edit(states) − x‖ · unit added to x [n, d]: what the edit has without its edits, see `unedited`."""
        x = self.edit.unedited(states)
        size = (self.edit(states) - x).norm(dim=1, keepdim=True)
        moved: Tensor = x + size * self.unit.to(x)
        return moved

    def settings(self) -> dict[str, Any]:
        """The edit, and the direction's identity."""
        return {**self.edit.settings(), "kind": "same norm", "unit": fingerprint({"unit": self.unit})}
