"""A concept language model whose own concepts are edited at some positions of a sequence only."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from accord.concepts.base import Edit
from accord.heads.concept_lm import ConceptLM
from accord.heads.reader import Reader, edits_as_json
from accord.lm.edited import Wrapped
from accord.lm.marked import Marked, States, marked
from accord.lm.splice import past, replaced


class EditedSpan(Wrapped):
    """A concept language model, edited from position `first` to before `stop`; the first of all (0) never is.

    With the original head, what takes the state's place is edited there. A trained head reads states when logits are
    asked for, and no longer sees where they stood: so its states are marked once more (see `accord.lm.marked`), 1 where
    they are to be read with the edits.

    Raises AccordError for a concept that does not exist, or where no concepts are read.
    """

    def __init__(self, lm: ConceptLM, edits: Mapping[int, Edit], *, first: int = 1, stop: int | None = None) -> None:
        super().__init__(lm, None, "steered")
        self.plain, self.edited, self.first, self.stop = lm, lm.with_edits(edits), first, stop
        self.backbone = lm.backbone

    def hidden(
        self,
        ids: Tensor,
        *,
        layers: Sequence[int] | None = None,
        at: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Mapping[int, States]:
        """See `LanguageModel.hidden`; from the concepts' layer on, states are those after the edits."""
        start = past(cache)
        if self.plain.head is None:
            with ExitStack() as open_:
                for reader, first, stop in self._parts():
                    change = _reconstruct(reader)
                    open_.enter_context(
                        replaced(self.backbone, self.plain.layer, change, start=start, first=first, stop=stop)
                    )
                return self.backbone.hidden(ids, layers=layers, at=at, cache=cache)
        states = self.plain.hidden(ids, layers=layers, at=at, cache=cache)
        columns = torch.arange(ids.shape[1]).expand(ids.shape) if at is None else at
        inside = columns + start >= self.first
        if self.stop is not None:
            inside &= columns + start < self.stop
        reads = {layer: marked(state).mark for layer, state in states.items()}  # where the head does
        return {layer: Marked(state, reads[layer] * inside.to(reads[layer])) for layer, state in states.items()}

    def lens(self, hidden: States) -> Tensor:
        """See `LanguageModel.lens`."""
        if self.plain.head is None:
            return self.plain.lens(hidden)
        inner = marked(hidden).states
        edited = marked(hidden).mark > 0.5
        logits = torch.empty(*edited.shape, self.vocab_size, device=edited.device)
        for lm, places in ((self.edited, edited), (self.plain, ~edited)):
            if bool(places.any()):
                logits[places] = lm.lens(inner[places])
        return logits

    def settings(self) -> dict[str, Any]:
        """See `LanguageModel.settings`: the model's, and the edits."""
        edits = edits_as_json(self.edited.reader.edits)
        return {**self.plain.settings(), "model": self.name, "steered": edits, "positions": [self.first, self.stop]}

    def _parts(self) -> list[tuple[Reader, int, int | None]]:
        """What is read of which positions; together all of them."""
        parts: list[tuple[Reader, int, int | None]] = [(self.plain.reader, 1, self.first)]
        parts.append((self.edited.reader, self.first, self.stop))
        return parts if self.stop is None else [*parts, (self.plain.reader, max(self.first, self.stop), None)]


def _reconstruct(reader: Reader) -> Any:
    def change(states: Tensor) -> Tensor:
        new = reader(states)
        assert isinstance(new, Tensor)
        return new

    return change
