"""An update: gradients clipped, AdamW's step taken, rows that have norm 1 kept so.

On a GPU of many concepts an update only moves memory, so there it is two passes: one over the gradients for their norm,
one that reads and writes everything else once (`accord.concepts.kernels`).
"""

import math
from collections.abc import Collection

import torch
from torch import Tensor
from torch.nn import Parameter

from accord.concepts import kernels


class Adam:
    """AdamW on some parameters, as `torch.optim.AdamW` has it, whose object holds the moments.

    `unit_rows` are parameters `[n, d]` whose rows have norm 1: the part of a gradient along its row, which would change
    the norm alone, is left out, and after the step rows are brought back to norm 1.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (2019, arXiv 1711.05101).
    """

    def __init__(
        self, parameters: list[Parameter], unit_rows: Collection[Parameter], *, weight_decay: float, clip: float
    ) -> None:
        self.optimizer = torch.optim.AdamW(parameters, weight_decay=weight_decay, fused=True)
        self.unit_rows, self.largest = {id(each) for each in unit_rows}, clip
        self.in_one = kernels.use(*parameters) and all(each.is_contiguous() for each in parameters)
        self._ready: list[tuple[Parameter, Tensor]] = []
        self._factor: Tensor
        self.lr = torch.zeros((), dtype=torch.float64, device=parameters[0].device if self.in_one else None)

    def set_lr(self, lr: float) -> None:
        """The rate of the steps to come."""
        self.lr.fill_(lr)
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    @torch.no_grad()
    def clip(self) -> Tensor:
        """Make the gradients ready for `move`; their norm `[]` before they are clipped."""
        moved = [each for group in self.optimizer.param_groups for each in group["params"] if each.grad is not None]
        if not self.in_one:
            for weight in moved:
                if id(weight) in self.unit_rows:
                    weight.grad.addcmul_((weight.grad * weight).sum(1, keepdim=True), weight, value=-1)
            return torch.nn.utils.clip_grad_norm_(moved, self.largest)
        self._ready, squares = [], []
        for weight in moved:
            weight.grad = weight.grad.contiguous()
            square, slopes = kernels.row_squares(weight.grad, weight if id(weight) in self.unit_rows else None)
            self._ready.append((weight, slopes))
            squares.append(square.sum())
        norm = torch.stack(squares).sum().sqrt()
        self._factor = torch.ones_like(norm)
        if math.isfinite(self.largest):
            self._factor = (self.largest / (norm + 1e-6)).clamp_max(1.0)
        return norm

    @torch.no_grad()
    def move(self) -> None:
        """Take the step, at the rate that is set."""
        if self.in_one:
            self._in_one()
            return
        self.optimizer.step()
        for group in self.optimizer.param_groups:
            for weight in group["params"]:
                if id(weight) in self.unit_rows and weight.grad is not None:
                    weight.div_(weight.norm(dim=1, keepdim=True).clamp_min(1e-12))

    def _in_one(self) -> None:
        group, states = self.optimizer.param_groups[0], [self._state(weight) for weight, _ in self._ready]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1.0)
        beta1, beta2 = (-torch.expm1(torch.stack(steps).double() * math.log(beta)) for beta in group["betas"])
        factors, lrs = self._factor.double().expand_as(beta1), self.lr.expand_as(beta1)
        paces = torch.stack([factors, lrs, lrs / beta1, beta2.sqrt()], 1).float()
        for (weight, slopes), state, pace in zip(self._ready, states, paces, strict=True):
            assert weight.grad is not None
            kernels.adam_rows(weight, weight.grad, (state["exp_avg"], state["exp_avg_sq"]), slopes, pace, group)
        self._ready = []

    def _state(self, weight: Parameter) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.optimizer.state[weight]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=weight.device)
            state["exp_avg"], state["exp_avg_sq"] = (
                torch.zeros_like(weight, memory_format=torch.contiguous_format) for _ in range(2)
            )
        return state
