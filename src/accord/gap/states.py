"""States at the end of the validator's prompts, layer by layer."""

from collections.abc import Sequence

import torch
from torch import Tensor

from accord.arguments import checked
from accord.gap.questions import contexts_of
from accord.lm.marked import States, backbone_states
from accord.lm.model import LanguageModel
from accord.lm.prefix_tree import Ids
from accord.lm.states import end_states
from accord.progress import Progress
from accord.tasks import Task


@checked
@torch.no_grad()
def validator_states(
    lm: LanguageModel, task: Task, layers: Sequence[int], *, progress: Progress | None = None
) -> dict[int, Tensor]:
    """States at the last position of every item's validator prompt: layer -> float32 [item, d] on the CPU.

    >>> lm = accord.load("smollm2-135m")
    >>> states = validator_states(lm, accord.task("hypernymy", limit=2), [10, 30])
    >>> {layer: tuple(of.shape) for layer, of in states.items()}
    {10: (2, 576), 30: (2, 576)}
    """
    return context_states(lm, contexts_of(lm, task, "validator"), layers, progress=progress)


@torch.no_grad()
def context_states(
    lm: LanguageModel, contexts: Sequence[Ids], layers: Sequence[int], *, progress: Progress | None = None
) -> dict[int, Tensor]:
    """States at the last position of every context, equal contexts computed once: layer -> float32 [context, d].

    They are the backbone's own.
    """
    distinct = list(dict.fromkeys(contexts))
    by_layer = {layer: torch.empty(len(distinct), lm.d_model) for layer in layers}

    def read(layer: int, states: States, which: list[int]) -> None:
        by_layer[layer][which] = backbone_states(states).float().cpu()

    end_states(lm, distinct, read, layers=list(layers), progress=progress)
    place = {context: i for i, context in enumerate(distinct)}
    index = torch.tensor([place[context] for context in contexts])
    return {layer: states[index] for layer, states in by_layer.items()}
