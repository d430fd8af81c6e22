"""The concept language model: a backbone up to a layer, concepts on it, a head on them; again a language model.

There are two ways on from the layer, and the head decides which:

- The **original head** stands where it always stood. What is read of the layer (its state, or the reconstruction)
  takes the state's place and goes on through the remaining blocks. `n_layers` is the backbone's, and so is the lens of
  every layer.
- A **trained head** (fine-tuned or new) reads the layer directly, as it did in training. The model ends there:
  `n_layers` is the layer. Its lens must tell the top layer's states, which the head reads, from those below, which
  only the backbone's own lens can read. So its states are marked (`accord.lm.marked`): 1 where the head reads them
  and 0 where the backbone's lens does.

The first position of a sequence is the backbone's own in both, up to the logits: see `splice`. A text that is
generated from the start token alone therefore has its first token from the backbone.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from accord.concepts.base import Edit
from accord.errors import AccordError
from accord.heads.head import Head
from accord.heads.reader import Reader, fingerprint
from accord.lm.backbone import Backbone
from accord.lm.marked import Marked, States, backbone_states, marked
from accord.lm.splice import no_first, past, replaced


class ConceptLM:
    """A `LanguageModel` made of a backbone, a layer, what is read of it, and a head.

    Args:
        backbone: frozen; its layers up to `layer` are this model's.
        layer: which states are read: 0 (what enters the first block) to the backbone's last.
        reader: the concepts, what is read of them, and edits; `Reader()` reads the state as it is.
        head: a trained head; None for the backbone's own.
        name: by default put together from the parts.

    Raises:
        AccordError: no such layer, or parts that do not fit each other.
    """

    def __init__(
        self, backbone: Backbone, layer: int, reader: Reader, head: Head | None = None, *, name: str | None = None
    ) -> None:
        _check(backbone, layer, reader, head)
        self.backbone, self.layer, self.reader, self.head = backbone, layer, reader, head
        if reader.concepts is not None:
            reader.concepts.to(backbone.device).eval()
        if head is not None:
            head.to(backbone.device).eval()
        self.name = name or _name(backbone, layer, reader, head)
        self.tokenizer, self.vocab_size = backbone.tokenizer, backbone.vocab_size
        self.device, self.dtype, self.cacheable = backbone.device, backbone.dtype, backbone.cacheable
        self.limits, self.ends = backbone.limits, backbone.ends
        self.n_layers, self.d_model = backbone.n_layers if head is None else layer, backbone.d_model

    def hidden(
        self,
        ids: Tensor,
        *,
        layers: Sequence[int] | None = None,
        at: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Mapping[int, States]:
        """See `LanguageModel.hidden`; from `layer` on, states are those that follow from what is read there."""
        numbers = (self.n_layers,) if layers is None else tuple(layers)
        if wrong := [layer for layer in numbers if not 0 <= layer <= self.n_layers]:
            raise AccordError("no such layer", got=wrong[0], wanted=f"0 to {self.n_layers} in {self.name}")
        start = past(cache)
        if self.head is not None:
            states = self.backbone.hidden(ids, layers=numbers, at=at, cache=cache)
            return {  # the head reads the top layer, but for a sequence's first position
                layer: Marked(state, no_first(state, at, start).float() * float(layer == self.n_layers))
                for layer, state in states.items()
            }
        if self.reader.reads == "embedding":
            return self.backbone.hidden(ids, layers=numbers, at=at, cache=cache)
        with replaced(self.backbone, self.layer, self.reader.states, start=start):
            return self.backbone.hidden(ids, layers=numbers, at=at, cache=cache)

    def lens(self, hidden: States) -> Tensor:
        """See `LanguageModel.lens`."""
        if self.head is None:
            return self.backbone.lens(hidden)
        mark = marked(hidden).mark
        states, own = backbone_states(hidden).reshape(-1, self.d_model), mark.flatten() > 0.5
        if bool(own.all()):
            logits: Tensor = self.head(self.reader(states))
        elif not bool(own.any()):
            logits = self.backbone.lens(states)
        else:
            logits = torch.empty(len(states), self.vocab_size, device=states.device)
            logits[own] = self.head(self.reader(states[own]))
            logits[~own] = self.backbone.lens(states[~own])
        return logits.reshape(*mark.shape, self.vocab_size)

    def with_edits(self, edits: Mapping[int, Edit]) -> "ConceptLM":
        """The same model, weights shared, with these edits in place of its own; at every position but the first.

        Raises AccordError for a concept that does not exist, or where no concepts are read.
        """
        edited = copy(self)
        edited.reader = self.reader.with_edits(edits)
        return edited

    def settings(self) -> dict[str, Any]:
        """See `LanguageModel.settings`: the backbone's, and what is read, by which head."""
        head = "original" if self.head is None else fingerprint(self.head.state_dict())
        return {
            **self.backbone.settings(),
            "model": self.name,
            "backbone": self.backbone.name,
            "layer": self.layer,
            "head": head,
            **self.reader.settings(),
        }


def _name(backbone: Backbone, layer: int, reader: Reader, head: Head | None) -> str:
    """Such as "smollm2-135m, layer 30, topk latents, new head"."""
    kind = getattr(reader.concepts.config, "kind", "concept") + " " if reader.concepts is not None else ""
    return f"{backbone.name}, layer {layer}, {kind}{reader.reads}, {head.config.kind if head else 'original'} head"


def _check(backbone: Backbone, layer: int, reader: Reader, head: Head | None) -> None:
    if not 0 <= layer <= backbone.n_layers:
        raise AccordError("no such layer", got=layer, wanted=f"0 to {backbone.n_layers} in {backbone.name}")
    if reader.concepts is not None:
        if reader.concepts.d != backbone.d_model:
            problem = "the concept model is for embeddings of another width"
            raise AccordError(problem, where=backbone.name, got=reader.concepts.d, wanted=backbone.d_model)
        reader.concepts.check_layer(layer)
    if head is None and reader.reads == "latents":
        raise AccordError("the original head cannot read latents", fix='use a new head, or reads = "reconstruction"')
    if head is None:
        return
    if head.vocabulary.size != backbone.vocab_size:
        got, wanted = f"{head.vocabulary.size} tokens", f"{backbone.vocab_size} tokens"
        raise AccordError("the head is for another vocabulary", where=backbone.name, got=got, wanted=wanted)
    width = backbone.d_model if reader.reads != "latents" else reader.latent_width
    if (head.config.reads, head.width) != (reader.reads, width):
        raise AccordError(
            "the head was made for something else than it is given to read",
            got=f"{reader.reads} of {width} numbers",
            wanted=f"{head.config.reads} of {head.width} numbers",
        )
