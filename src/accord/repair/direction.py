"""Steering as a repair: a difference of means between what the model thinks of affirmed and of denied items.

The direction is the mean validator state of the items that the generator (or gold) affirms less that of those it
denies, at a layer and a position of the prompt's end. Added to every state, it moves all items alike: it can mend the
threshold, hardly the order. Amplifying what a state has along it moves items apart, and so can mend the order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.gap.metrics import pearson
from accord.gap.questions import contexts_of
from accord.gap.states import context_states
from accord.lm.edited import StateEdit
from accord.lm.model import LanguageModel
from accord.progress import Progress
from accord.repair.config import DirectionConfig
from accord.repair.edit_search import Candidate, EditSearch
from accord.repair.evidence import Evidence, gather
from accord.repair.fitted import Fitted
from accord.repair.ordinary import ordinary_texts
from accord.steering.edits import AddDirection, AmplifyDirection
from accord.tasks import Task

# Layers tried by default.
_LAYERS = 8


@dataclass(frozen=True)
class Direction:
    """A difference of means, and how well it separates.

    Attributes:
        layer, position: where it was taken; positions count from the prompt's end, 0 the last.
        vector: mean of affirmed less mean of denied states [d], of items that are not held out.
        center: mean of (state · vector / ‖vector‖) over these items.
        separation: on held-out items, Pearson's r of l_G with the state's part along the vector.
    """

    layer: int
    position: int
    vector: Tensor
    center: float
    separation: float


def fit(
    lm: LanguageModel,
    task: Task,
    config: DirectionConfig | None = None,
    *,
    seed: int = 0,
    texts: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Choose layer, position and factor of a steering direction on items and texts held out from those of `task`.

    Of each layer the position that separates best counts; of the layers the best `config.tries` are run, with every
    factor.

    Raises:
        AccordError: too few items or texts, or no such layer.
    """
    config = config or DirectionConfig()
    evidence = gather(lm, task, held_out=config.held_out, seed=seed, progress=progress)
    best: dict[int, Direction] = {}  # by layer
    for direction in directions(lm, task, evidence, config, progress=progress):
        best[direction.layer] = max(best.get(direction.layer, direction), direction, key=_separation)
    search = EditSearch(lm, task, evidence, config.items, ordinary_texts(texts, seed)[: config.texts])
    candidates = _candidates(sorted(best.values(), key=_separation, reverse=True)[: config.tries], config)
    return search.choose(candidates, config.budget, progress)


def directions(
    lm: LanguageModel, task: Task, evidence: Evidence, config: DirectionConfig, *, progress: Progress | None = None
) -> list[Direction]:
    """The direction of every layer and position that is tried."""
    contexts = contexts_of(lm, task, "validator")
    last = min(config.positions, min(map(len, contexts)) - 1)
    layers = config.layers or sorted({round(i * lm.n_layers / (_LAYERS + 1)) for i in range(1, _LAYERS + 1)})
    affirmed = evidence.gold if config.by == "gold" else evidence.generator > np.median(evidence.generator)
    # In one pass: a prompt less its last tokens is a prefix of the prompt.
    ends = [context[: len(context) - position] for position in range(last) for context in contexts]
    states = context_states(lm, ends, layers, progress=progress)
    return [
        _direction(layer, position, part, affirmed, evidence)
        for layer in layers
        for position, part in enumerate(states[layer].reshape(-1, len(contexts), states[layer].shape[-1]))
    ]


def _direction(layer: int, position: int, states: Tensor, affirmed: NDArray[np.bool_], evidence: Evidence) -> Direction:
    fitted, held = (torch.from_numpy(mask) for mask in (evidence.held == 0, evidence.held > 0))
    yes = torch.from_numpy(affirmed)
    vector = states[fitted & yes].mean(0) - states[fitted & ~yes].mean(0)
    along = states @ vector / vector.norm().clamp_min(1e-12)
    separation = pearson(evidence.generator[held.numpy()], along[held].double().numpy())
    return Direction(layer, position, vector, float(along[fitted].mean()), float(separation))


def _separation(direction: Direction) -> float:
    return float(np.nan_to_num(direction.separation, nan=-1.0))


def _candidates(best: Sequence[Direction], config: DirectionConfig) -> Iterator[Candidate]:
    for direction in best:
        for factor in config.factors:
            edit: StateEdit
            if config.mode == "add":
                edit = AddDirection(direction.layer, direction.vector * factor)
            else:
                unit = direction.vector / direction.vector.norm().clamp_min(1e-12)
                edit = AmplifyDirection(direction.layer, unit, direction.center, factor)
            settings = {"mode": config.mode, "layer": direction.layer, "position": direction.position, "factor": factor}
            yield {**settings, "separation": direction.separation}, [edit]
