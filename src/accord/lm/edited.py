"""A language model with edits: its states changed at some layers, or its logits moved by what a layer says.

Both wrap any `LanguageModel` and are a `LanguageModel` again, so scoring, the gap, perplexity and generation work on
them, and they can be stacked.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import Cache

from accord.errors import AccordError
from accord.lm.backbone import Backbone
from accord.lm.marked import Marked, States, backbone_states, marked
from accord.lm.model import LanguageModel, lens_of
from accord.lm.splice import no_first, past, replaced


class StateEdit(Protocol):
    """A change of a layer's states."""

    @property
    def layer(self) -> int:
        """Whose states change."""
        ...

    def __call__(self, states: Tensor) -> Tensor:
        """From raw states [n, d] to those that take their place, [n, d]."""
        ...

    def settings(self) -> dict[str, Any]:
        """What fixes the change, as JSON."""
        ...


class Wrapped:
    """What an edited model shares with the model it wraps."""

    def __init__(self, lm: LanguageModel, name: str | None, what: str) -> None:
        self.lm, self.name = lm, name or f"{lm.name}, {what}"
        self.tokenizer, self.vocab_size, self.n_layers, self.d_model = (
            lm.tokenizer,
            lm.vocab_size,
            lm.n_layers,
            lm.d_model,
        )
        self.device, self.dtype, self.cacheable = lm.device, lm.dtype, lm.cacheable
        self.limits, self.ends = lm.limits, lm.ends


class Steered(Wrapped):
    """A language model whose states are changed while it runs; the layers above read what was put.

    Args:
        lm: a backbone, or a model that stands on a backbone.
        edits: applied in the order of their layers; several at the same layer in the order of this list.
        first, stop: positions of a sequence, from `first` to before `stop`, that are changed; the first position of
            all (0) never is, see `accord.lm.splice`.

    Raises:
        AccordError: the backbone has no such layer.
    """

    def __init__(
        self,
        lm: LanguageModel,
        edits: Sequence[StateEdit],
        *,
        first: int = 1,
        stop: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(lm, name, "steered")
        self.edits, self.first, self.stop = tuple(edits), first, stop
        self.backbone = backbone_of(lm)
        for edit in self.edits:
            if not 0 <= edit.layer <= self.backbone.n_layers:
                wanted = f"0 to {self.backbone.n_layers} in {lm.name}"
                raise AccordError("no such layer to steer", got=edit.layer, wanted=wanted)

    def hidden(
        self,
        ids: Tensor,
        *,
        layers: Sequence[int] | None = None,
        at: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Mapping[int, States]:
        """See `LanguageModel.hidden`; states are those after the edits."""
        with ExitStack() as changed:
            for edit in self.edits:
                changed.enter_context(
                    replaced(self.backbone, edit.layer, edit, start=past(cache), first=self.first, stop=self.stop)
                )
            return self.lm.hidden(ids, layers=layers, at=at, cache=cache)

    def lens(self, hidden: States) -> Tensor:
        """See `LanguageModel.lens`."""
        return self.lm.lens(hidden)

    def lens_of(self, hidden: States, tokens: Tensor) -> Tensor:
        """See `accord.lm.model.lens_of`."""
        return lens_of(self.lm, hidden, tokens)

    def settings(self) -> dict[str, Any]:
        """See `LanguageModel.settings`: the model's, and the edits."""
        edits = [edit.settings() for edit in self.edits]
        return {**self.lm.settings(), "model": self.name, "steered": edits, "positions": [self.first, self.stop]}


@dataclass(frozen=True)
class Readout:
    """A number read off the states of some layers that moves the logits of some tokens up and of others down.

    With value v = w·h + b, at most `limit` either way, logits of `plus` rise by v/2 and those of `minus` fall by v/2:
    the log-odds between the two groups, log Σ p(plus) − log Σ p(minus), change by exactly v.

    Attributes:
        layers: whose states, side by side, are h [layers · d].
        weight: w [layers · d], float32.
        bias: b, in nats.
        plus, minus: token ids; no id in both.
        limit: the largest |v|, in nats: states unlike any that it was fitted on cannot move the logits without bound.
    """

    layers: tuple[int, ...]
    weight: Tensor
    bias: float
    plus: tuple[int, ...]
    minus: tuple[int, ...]
    limit: float = float("inf")

    def __call__(self, states: Mapping[int, Tensor]) -> Tensor:
        """v [...] of states [..., d] of each of the layers."""
        parts = self.weight.chunk(len(self.layers))
        value = sum(
            states[layer].float() @ part.to(states[layer].device)
            for layer, part in zip(self.layers, parts, strict=True)
        )
        return torch.as_tensor(value + self.bias).clamp(-self.limit, self.limit)


class WithReadout(Wrapped):
    """A language model whose logits a `Readout` moves, at every position but a sequence's first.

    Its states are marked with the value by which the lens moves the logits: what was read at the top layer, 0 below.

    Raises:
        AccordError: no such layer, or the weights are for states of another width.
    """

    def __init__(self, lm: LanguageModel, readout: Readout, *, name: str | None = None) -> None:
        super().__init__(lm, name, "with readout")
        if wrong := [layer for layer in readout.layers if not 0 <= layer <= lm.n_layers]:
            raise AccordError("no such layer to read", got=wrong[0], wanted=f"0 to {lm.n_layers} in {lm.name}")
        if not readout.layers or len(readout.weight) != len(readout.layers) * lm.d_model:
            wanted = f"{lm.d_model} for each of its layers"
            raise AccordError("the readout is for states of another width", got=len(readout.weight), wanted=wanted)
        self.readout = readout

    def hidden(
        self,
        ids: Tensor,
        *,
        layers: Sequence[int] | None = None,
        at: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Mapping[int, States]:
        """See `LanguageModel.hidden`."""
        layers = (self.n_layers,) if layers is None else tuple(layers)
        start = past(cache)
        states = self.lm.hidden(ids, layers=sorted({*layers, *self.readout.layers}), at=at, cache=cache)
        inputs = {layer: backbone_states(states[layer]) for layer in self.readout.layers}
        value = self.readout(inputs) * no_first(inputs[self.readout.layers[0]], at, start).float()
        return {layer: Marked(states[layer], value * float(layer == self.n_layers)) for layer in layers}

    def lens(self, hidden: States) -> Tensor:
        """See `LanguageModel.lens`."""
        hidden = marked(hidden)
        logits = self.lm.lens(hidden.states).clone()
        half = hidden.mark[..., None] / 2
        logits[..., list(self.readout.plus)] += half
        logits[..., list(self.readout.minus)] -= half
        return logits

    def lens_of(self, hidden: States, tokens: Tensor) -> Tensor:
        """See `accord.lm.model.lens_of`."""
        hidden = marked(hidden)
        plus, minus = (torch.tensor(ids, device=tokens.device) for ids in (self.readout.plus, self.readout.minus))
        sign = torch.isin(tokens, plus).float() - torch.isin(tokens, minus).float()
        moved = hidden.mark[..., None] / 2 * sign.to(hidden.mark.device)
        return lens_of(self.lm, hidden.states, tokens) + moved

    def settings(self) -> dict[str, Any]:
        """See `LanguageModel.settings`: the model's, and the readout."""
        readout = self.readout
        limit = readout.limit if isfinite(readout.limit) else None  # JSON knows no infinity
        fixed = {**asdict(readout), "weight": readout.weight.tolist(), "limit": limit}
        return {**self.lm.settings(), "model": self.name, "readout": fixed}


def backbone_of(lm: LanguageModel) -> Backbone:
    """The backbone under a model, however often it is wrapped. Raises AccordError if there is none."""
    model: Any = lm
    while not isinstance(model, Backbone):
        inner = getattr(model, "backbone", None) or getattr(model, "lm", None)
        if inner is None:
            raise AccordError("this model stands on no backbone whose layers could be reached", got=lm.name)
        model = inner
    return model
