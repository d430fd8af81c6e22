"""A model that can be given another model's states, whatever edits it has: states are put beneath all of them."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass

from torch import Tensor
from transformers import Cache

from accord.lm.backbone import Backbone
from accord.lm.beginning import for_rows
from accord.lm.edited import backbone_of
from accord.lm.kv import KeysValues, kv_cache, kv_pairs
from accord.lm.marked import States
from accord.lm.model import LanguageModel
from accord.lm.packing import Tree
from accord.lm.splice import past, replaced


@dataclass(frozen=True)
class Put:
    """States [row, position, d] that take the place of those of `layer`, from position `first` (at least 1) on.

    They are of the batch's rows from `row` on; other rows keep theirs.
    """

    layer: int
    first: int
    states: Tensor
    row: int = 0

    def change(self, states: Tensor) -> Tensor:
        """What `replaced` calls with states [n, d]: the states [n, d] in their place."""
        changed = states.reshape(-1, *self.states.shape[1:]).clone()
        changed[self.row : self.row + len(self.states)] = self.states
        return changed.reshape(states.shape)


class _Core(Backbone):
    """The same backbone, weights shared, whose states can be replaced.

    An edited model changes states around the backbone's run; what is put here comes after those changes and before
    anything reads the layer, so the layer's final states are the ones that were put.
    """

    def __init__(self, backbone: Backbone) -> None:
        self.__dict__.update(backbone.__dict__)
        self.puts: Sequence[Put] = ()

    def hidden(
        self,
        ids: Tensor,
        *,
        layers: Sequence[int] | None = None,
        at: Tensor | None = None,
        cache: Cache | None = None,
        tree: Tree | None = None,
    ) -> dict[int, Tensor]:
        """See `Backbone.hidden`."""
        with ExitStack() as changed:
            for put in self.puts:
                changed.enter_context(replaced(self, put.layer, put.change, start=past(cache), first=put.first))
            return super().hidden(ids, layers=layers, at=at, cache=cache, tree=tree)


class Receiver:
    """A model that runs on prompts cut into pieces, and takes another's states."""

    def __init__(self, lm: LanguageModel) -> None:
        self._core = _Core(backbone_of(lm))
        self.lm = _around(lm, self._core)

    def run(
        self, ids: Tensor, before: KeysValues, *, layers: Sequence[int] | None = None, puts: Sequence[Put] = ()
    ) -> tuple[Mapping[int, States], KeysValues]:
        """States [row, position, d] of `ids` [row, position], and the keys and values with them.

        Args:
            before: keys and values of the positions before; a row of them serves as many rows of ids as there are to
                each, in order. None at the start.
            puts: what takes the place of layers' states.
        """
        cache = kv_cache(for_rows(before, len(ids))) if self.lm.cacheable else None
        self._core.puts = puts
        try:
            states = self.lm.hidden(ids, layers=layers, cache=cache)
        finally:
            self._core.puts = ()
        return states, kv_pairs(cache) if cache is not None else []


def _around(lm: LanguageModel, core: Backbone) -> LanguageModel:
    """The model, however wrapped, with `core` in the place of its backbone; weights are shared."""
    if isinstance(lm, Backbone):
        return core
    changed = copy(lm)
    for name, inner in vars(lm).items():  # whatever it calls the models that it runs
        if hasattr(inner, "hidden") and hasattr(inner, "lens"):
            setattr(changed, name, _around(inner, core))
    return changed
