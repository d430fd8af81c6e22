"""Logistic regression with a ridge, of two labels or several: the one fit behind every probe and classifier."""

from collections.abc import Callable

import torch
from torch import Tensor


@torch.enable_grad()
def logistic_weights(x: Tensor, outputs: int, wrong: Callable[[Tensor], Tensor]) -> Tensor:
    """The weights [d + 1, outputs], float64, the last row the bias, that minimise wrong(logits) + ‖W‖² / n.

    Args:
        x: standardised rows [n, d], float64.
        wrong: a convex loss of the logits [n, outputs], such as a mean cross-entropy.

    >>> x, y = torch.tensor([[-1.0], [1.0]]).double(), torch.tensor([0, 1])
    >>> weights = logistic_weights(x, 2, lambda logits: torch.nn.functional.cross_entropy(logits, y))
    >>> (x @ weights[:-1] + weights[-1]).argmax(1).tolist()
    [0, 1]
    """
    weight = torch.zeros(x.shape[1] + 1, outputs, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = wrong(x @ weight[:-1] + weight[-1]) + weight[:-1].square().sum() / len(x)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach()
