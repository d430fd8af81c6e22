"""States of a model that is wrapped, with what the wrapper noted at each of their positions.

A lens sees states and not where they stood. A wrapper whose lens must know it, as a trained head must know a sequence's
first position, hands its states on as `Marked`. Wrappers stack, so those can be marked again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Marked:
    """States, and a number for each of them; made by a wrapper's `hidden`, read by its `lens`.

    Attributes:
        states: of the model that is wrapped, [..., d].
        mark: what the wrapper noted, float32 [...].
    """

    states: "States"
    mark: Tensor

    def __getitem__(self, index: Any) -> "Marked":
        """The states of some positions; an index is of the leading axes, so d stays whole."""
        if any(part is Ellipsis for part in (index if isinstance(index, tuple) else (index,))):
            raise TypeError("marked states are indexed by their leading axes; backbone_states gives a tensor")
        return Marked(self.states[index], self.mark[index])

    def __len__(self) -> int:
        return len(self.mark)

    def to(self, device: torch.device) -> "Marked":
        """The same on a device."""
        return Marked(self.states.to(device), self.mark.to(device))

    def cpu(self) -> "Marked":
        """The same on the CPU."""
        return Marked(self.states.cpu(), self.mark.cpu())


States = Tensor | Marked
"""Hidden states [..., d], d being the width of the backbone however it is wrapped. Both kinds have a length, `to` and
`cpu`, and are indexed by their leading axes; `backbone_states` gives the numbers themselves."""


def marked(states: States) -> Marked:
    """The same states, checked to be marked, for a lens that needs marks; TypeError if they are plain."""
    if not isinstance(states, Marked):
        raise TypeError("this lens needs the marks that the model's `hidden` puts on its states")
    return states


def backbone_states(states: States) -> Tensor:
    """The backbone's own states [..., d], without any marks."""
    return backbone_states(states.states) if isinstance(states, Marked) else states


def joined(parts: Sequence[States]) -> States:
    """States of the same model, concatenated along their first axis."""
    tensors = [as_tensors(part, "states") for part in parts]
    return from_tensors({name: torch.cat([part[name] for part in tensors]) for name in tensors[0]}, "states")


def as_tensors(states: States, name: str) -> dict[str, Tensor]:
    """States as named tensors, for a file: the backbone's own by `name`, marks by NAME.mark0 (the outermost) and so on.

    >>> list(as_tensors(Marked(torch.zeros(2, 3), torch.ones(2)), "states"))
    ['states', 'states.mark0']
    """
    marks = []
    while isinstance(states, Marked):
        marks.append(states.mark)
        states = states.states
    return {name: states, **{f"{name}.mark{i}": mark for i, mark in enumerate(marks)}}


def from_tensors(tensors: Mapping[str, Tensor], name: str) -> States:
    """The states that `as_tensors` took apart; other tensors may be among them."""
    states: States = tensors[name]
    for i in reversed(range(sum(key.startswith(f"{name}.mark") for key in tensors))):
        states = Marked(states, tensors[f"{name}.mark{i}"])
    return states
