"""What is steered: a language model, and the concepts of one of its layers; and the steered model that edits make."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from accord.arguments import checked
from accord.concepts.base import ConceptModel, Edit, Scale, Set
from accord.errors import AccordError
from accord.heads.concept_lm import ConceptLM
from accord.heads.reader import edits_as_json
from accord.lm.backbone import Backbone
from accord.lm.edited import StateEdit, Steered, backbone_of
from accord.lm.model import LanguageModel
from accord.lm.prompted import InPart, Positions
from accord.steering.edits import AddDirection, EditConcepts
from accord.steering.span import EditedSpan


@dataclass(frozen=True)
class Target:
    """A language model and the concepts that are edited in it: a concept language model's own, or others spliced in.

    >>> from accord.concepts import build, read_config
    >>> lm = accord.load("smollm2-135m")
    >>> target = Target.of(lm, build(read_config({"kind": "topk", "size": 64, "k": 4}), d=lm.d_model), layer=20)
    >>> target.layer, target.concepts.K
    (20, 64)

    Attributes:
        concepts: made on the states of `layer`.
        keep_error: for concepts that are spliced in; see `EditConcepts`.
    """

    lm: LanguageModel
    concepts: ConceptModel
    layer: int
    keep_error: bool = True

    @classmethod
    def of(
        cls, lm: LanguageModel, concepts: ConceptModel | None, layer: int | None, keep_error: bool = True
    ) -> "Target":
        """The target as `accord.steer` takes it. Raises AccordError if it is not whole or does not fit."""
        if concepts is None and layer is None and isinstance(lm, ConceptLM):
            if lm.reader.concepts is None:
                raise AccordError("nothing to steer: this model reads no concepts", got=lm.name)
            return cls(lm, lm.reader.concepts, lm.layer, keep_error)
        if concepts is None or layer is None:
            raise AccordError(
                "steering a model without concepts of its own needs a concept model and its layer",
                where=lm.name,
                got=f"concepts = {concepts and type(concepts).__name__}, layer = {layer}",
            )
        concepts.check_decodes("steering")
        concepts.check_layer(layer)
        target = cls(lm, concepts.to(lm.device).eval(), layer, keep_error)
        if concepts.d != (width := backbone_of(lm).d_model):
            raise AccordError("the concept model is for other embeddings", got=concepts.d, wanted=width)
        Steered(lm, [target.change({})])  # raises for a layer that does not exist
        return target

    @property
    def own(self) -> bool:
        """Whether the concepts are those that the model itself reads."""
        return isinstance(self.lm, ConceptLM) and self.lm.reader.concepts is self.concepts

    @property
    def source(self) -> LanguageModel:
        """The model whose states of the layer the concepts read, before any edit."""
        return self.lm.backbone if self.own and isinstance(self.lm, ConceptLM) else self.lm

    @property
    def at_top(self) -> bool:
        """Whether no block follows what is edited, so that logits can be had from states alone: see `logits`."""
        return self.layer == self.lm.n_layers and (self.own or isinstance(self.lm, Backbone))

    @property
    def base(self) -> EditConcepts | None:
        """What happens to states where nothing is edited: spliced in without the error, they are reconstructed."""
        return None if self.own or self.keep_error else self.change({})

    @property
    def plain(self) -> LanguageModel:
        """The model that steered ones are compared with: nothing edited, and without the error that they drop."""
        return self.lm if self.base is None else self.steered({})

    def change(self, edits: Mapping[int, Edit]) -> EditConcepts:
        """The edits as a change of the layer's states; raises AccordError for a concept that does not exist."""
        hard = self.lm.reader.hard if self.own and isinstance(self.lm, ConceptLM) else False
        self.concepts.edit(self.concepts.encode(self.concepts.mean[None]), edits)
        return EditConcepts(self.layer, self.concepts, edits, self.keep_error, hard)

    def steered(self, edits: Mapping[int, Edit], first: int = 1, stop: int | None = None) -> LanguageModel:
        """The model with the edits at positions `first` to before `stop`, beside any edits of its own."""
        change = self.change(edits)
        if not (self.own and isinstance(self.lm, ConceptLM)):
            return Steered(self.lm, [change], first=first, stop=stop)
        merged = {**self.lm.reader.edits, **edits}
        if first <= 1 and stop is None:
            return self.lm.with_edits(merged)
        return EditedSpan(self.lm, merged, first=first, stop=stop)

    def pushed(self, push: StateEdit) -> LanguageModel:
        """The model with a direction added to its states."""
        return Steered(self.lm, [push], name=f"{self.lm.name}, pushed")

    def at(self, edits: Mapping[int, Edit], positions: Positions, push: StateEdit | None = None) -> LanguageModel:
        """The model with the edits, and a direction added on top, in the part of a sequence that is asked for.

        A model that reads its own concepts reads them in the states with the direction.
        """

        def make(first: int, stop: int | None) -> LanguageModel:
            if not self.own:
                changes = [self.change(edits)] if edits or self.base else []
                return Steered(self.lm, [*changes, *([push] if push else [])], first=first, stop=stop)
            edited = self.steered(edits, first, stop) if edits else self.lm
            return edited if push is None else Steered(edited, [push], first=first, stop=stop)

        if positions == "all":
            return make(1, None)
        self.change(edits)
        changed = {"layer": self.layer, "edits": edits_as_json(edits), "keep_error": self.keep_error}
        return InPart(self.lm, make, positions, changed if push is None else {**changed, "push": push.settings()})

    @torch.no_grad()
    def logits(self, states: Tensor, edits: Mapping[int, Edit], push: StateEdit | None = None) -> Tensor:
        """Logits [n, vocab] of raw states [n, d] of the layer, edited or pushed; only where the target is `at_top`."""
        assert self.at_top
        x = states.to(self.lm.device)
        if isinstance(self.lm, ConceptLM):
            x = push(x) if push is not None else x
            reader = self.lm.reader.with_edits({**self.lm.reader.edits, **edits})
            read = reader(x)
            if self.lm.head is not None:
                logits: Tensor = self.lm.head(read)
                return logits
            assert isinstance(read, Tensor)
            return self.lm.backbone.lens(read.to(self.lm.dtype))
        if push is not None:
            x = push(x)
        elif (base := self.change(edits) if edits else self.base) is not None:
            x = base(x)
        return self.lm.lens(x.to(self.lm.dtype))


@checked
def steer(
    lm: LanguageModel,
    edits: Mapping[int, float | Edit],
    *,
    concepts: ConceptModel | None = None,
    layer: int | None = None,
    keep_error: bool = True,
    positions: Positions = "all",
    push: AddDirection | None = None,
) -> LanguageModel:
    """A language model with concepts turned off or up; scoring, the gap, perplexity and generation work on it.

    >>> from accord.concepts import Set, build, read_config
    >>> lm = accord.load("smollm2-135m")
    >>> model = build(read_config({"kind": "topk", "size": 64, "k": 4}), d=lm.d_model)  # a trained one means more
    >>> steered = accord.steer(lm, {7: Set(50.0)}, concepts=model, layer=20)
    >>> [[before], [after]] = (accord.score(each, ["Bees make honey."])[0].total for each in (lm, steered))
    >>> bool(before > after)
    True

    `accord.steer(lm, {12: 0.0, 7: 3.0})` turns concept 12 off and makes 7 three times as strong.

    Args:
        lm: a concept language model, whose own concepts are edited (at every position that it reads them); or any
            model on a backbone, with `concepts` and `layer`.
        edits: concept -> factor: 0.0 is off, 1.0 changes nothing, and 3.0 is three times as strong *where the concept
            is active*: a factor cannot wake it elsewhere. `Set(value)` gives it a strength at every position, `Scale`
            is the factor spelled out. `Typical.edit` gives strengths in units of the concept's own.
        concepts: spliced in at `layer`: encoded, edited, decoded.
        keep_error: spliced in, change the state by what the edits change of the reconstruction, and leave the rest of
            it alone; else the edited reconstruction takes the state's place. A concept language model that reads
            its concepts has no such rest.
        positions: "all"; "generated": those that write generated tokens, from the prompt's last token on; "prompt":
            those before. The first position of a sequence is never edited (see `accord.lm.splice`). The last two
            are for sampling and scoring, where it is known how long a prompt is.
        push: a direction that is added to the states as well, such as what a concept usually writes:
            `AddDirection(layer, Dose("added", 4.0).direction(12, typical))`. There need be no edits then.

    Raises:
        AccordError: no such concept, layer or positions, no number, a concept model or a push that does not fit.
    """
    target = Target.of(lm, concepts, layer, keep_error)
    if push is not None and push.vector.shape != (target.concepts.d,):
        got = list(push.vector.shape)
        raise AccordError("this push is for states of another width", got=got, wanted=[target.concepts.d])
    return target.at(as_edits(edits), positions, push)


def as_edits(edits: Mapping[int, float | Edit]) -> dict[int, Edit]:
    """The edits, numbers as factors. Raises AccordError for what is no finite number.

    >>> as_edits({12: 0.0, 7: Set(3.0)})
    {12: Scale(factor=0.0), 7: Set(value=3.0)}
    """
    valid: dict[int, Edit] = {}
    for concept, value in edits.items():
        edit: Any = value if isinstance(value, Set | Scale) else Scale(value)
        number = edit.value if isinstance(edit, Set) else edit.factor
        if isinstance(number, bool) or not isinstance(number, int | float) or not isfinite(number):
            raise AccordError("an edit is a finite factor, Set or Scale", where=f"concept {concept}", got=value)
        valid[concept] = edit
    return valid
