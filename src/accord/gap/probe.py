"""How well a number can be read off the validator's own state: ridge regression, closed form."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from accord.errors import AccordError
from accord.gap.questions import Forms
from accord.lm.batching import Progress
from accord.lm.model import LanguageModel
from accord.lm.prefix_tree import Ids
from accord.lm.states import end_states
from accord.tasks import Task


@torch.no_grad()
def validator_states(
    lm: LanguageModel, task: Task, layers: Sequence[int], *, progress: Progress | None = None
) -> dict[int, Tensor]:
    """States at the last position of every item's validator prompt: layer -> float32 [item, d] on the CPU."""
    forms = Forms.of(lm)
    contexts = [forms.queries(lm, task, item)[1].context for item in task.items]
    return context_states(lm, contexts, layers, progress=progress)


@torch.no_grad()
def context_states(
    lm: LanguageModel, contexts: Sequence[Ids], layers: Sequence[int], *, progress: Progress | None = None
) -> dict[int, Tensor]:
    """States at the last position of every context, equal contexts computed once: layer -> float32 [context, d]."""
    distinct = list(dict.fromkeys(contexts))
    found = {layer: torch.empty(len(distinct), lm.d_model) for layer in layers}

    def read(layer: int, states: Tensor, which: list[int]) -> None:
        found[layer][which] = states.float().cpu()

    end_states(lm, distinct, read, layers=list(layers), progress=progress)
    place = {context: i for i, context in enumerate(distinct)}
    index = torch.tensor([place[context] for context in contexts])
    return {layer: states[index] for layer, states in found.items()}


@dataclass(frozen=True)
class Probe:
    """An affine map from states [n, d] to numbers [n]: x·weight + bias."""

    weight: Tensor
    bias: float

    def __call__(self, states: Tensor) -> Tensor:
        """The numbers [n] read off states [n, d]."""
        return states.float() @ self.weight + self.bias

    @classmethod
    def fit(
        cls,
        states: Tensor,
        target: Tensor,
        *,
        penalty: float,
        quiet: Tensor | None = None,
        quiet_weight: float = 0.0,
    ) -> "Probe":
        """Ridge regression on standardised states, in float64.

        Minimises mean (w·z + c − target)² + quiet_weight · mean over quiet states of (w·z + c)² + penalty · ‖w‖²,
        with z the states standardised by the mean and deviation [d] of `states`: a penalty of 1 weighs as much as the
        error of a constant guess of deviation 1.

        Args:
            states: [n, d].
            target: [n].
            quiet: [m, d] states on which the map should give 0, such as those of ordinary text.

        Raises:
            AccordError: no states, or shapes that do not fit.
        """
        if len(states) == 0 or len(states) != len(target):
            raise AccordError("a probe needs as many states as targets", got=(len(states), len(target)))
        x, y = states.double(), target.double()
        mean, deviation = x.mean(0), x.std(0, correction=0).clamp_min(1e-6)
        rows, wanted = [_with_one((x - mean) / deviation) / len(x) ** 0.5], [y / len(x) ** 0.5]
        if quiet is not None and quiet_weight > 0:
            scale = (quiet_weight / len(quiet)) ** 0.5
            rows.append(_with_one((quiet.double() - mean) / deviation) * scale)
            wanted.append(torch.zeros(len(quiet), dtype=torch.float64))
        design, goal = torch.cat(rows), torch.cat(wanted)
        ridge = torch.full((design.shape[1],), penalty, dtype=torch.float64)
        ridge[-1] = 0.0  # the intercept is free
        solution = torch.linalg.solve(design.T @ design + torch.diag(ridge), design.T @ goal)
        weight = solution[:-1] / deviation
        return cls(weight.float(), float(solution[-1] - weight @ mean))


def _with_one(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(len(x), 1)], dim=1)
