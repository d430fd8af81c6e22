"""What a model does to the states that leave its last block, learnt by running it: norm, head, scale, soft-cap."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from accord.lm.anatomy import Anatomy


class Unsupported(Exception):
    """Why a network does not fit; `Backbone` makes it an AccordError."""


@dataclass(frozen=True)
class Finish:
    """What a model does to the numbers of its head: cap · tanh(scale · z / cap), or scale · z without a cap.

    >>> Finish(2.0, cap=30.0)(torch.tensor([1.0, 1000.0]))
    tensor([ 1.9970, 30.0000])
    """

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        """The model's logits from the numbers of its head."""
        if self.scale != 1.0:
            logits = logits * self.scale
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap

    def __str__(self) -> str:
        parts = [f"× {self.scale:.4g}"] if self.scale != 1.0 else []
        return ", ".join(parts + ([f"soft-cap {self.cap:.4g}"] if self.cap is not None else [])) or "nothing"


class StateFactor(nn.Module):
    """A factor between final norm and head."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """The states times the factor."""
        return x * self.factor


@dataclass
class Tail:
    """What a model does to the states that leave its last block.

    Attributes:
        final: the modules between the last block and the head, in order.
        head: from the last of these to a number for every token.
        casts: dtypes in which the model itself hands states to each of `final` and to the head.
        finish: what it does to the head's numbers.
    """

    final: list[nn.Module]
    head: nn.Module
    casts: list[torch.dtype]
    finish: Finish = field(default_factory=Finish)


def state_in(args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The state that a block gets: its first argument, or the argument called `hidden_states`."""
    return args[0] if args else kwargs.get("hidden_states")


def state_out(output: Any) -> Any:
    """The state that a block gives: its output, or the first entry of that."""
    return output[0] if isinstance(output, tuple | list) else output


def put_state(output: Any, state: Tensor) -> Any:
    """A block's output with another state in it."""
    return type(output)((state, *output[1:])) if isinstance(output, tuple | list) else state


def learn_tail(model: nn.Module, anatomy: "Anatomy", ids: Tensor, enough: float) -> tuple[Tail, float]:
    """The first of an anatomy's tails that is right to within `enough`, or the last; and the largest difference left.

    Differences are shares of the largest number.

    Raises:
        Unsupported: none can be applied, or what follows the head is neither a scale nor a soft-cap.
    """
    off, failed = float("inf"), Unsupported("its final norm could not be applied by itself")
    for tail in anatomy.tails:
        try:
            off = _learn(model, anatomy, tail, ids)
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError):
            continue
        except Unsupported as reason:
            failed = reason
            continue
        if off <= enough:
            return tail, off
    if off == float("inf"):
        raise failed
    return tail, off


def _learn(model: nn.Module, anatomy: "Anatomy", tail: Tail, ids: Tensor) -> float:
    """Learn what the model does between its norm and its head and after the head; the largest difference that is left.

    The model's own forward pass is given float32 states in the place of those that leave its last block, and numbers
    over a wide range in the place of those that leave its head; its final modules work in float32 meanwhile. So the
    proof is as tight in half precision as in float32, and a soft-cap shows however small the logits are.

    Sets the tail's finish, and adds a `StateFactor` to its final modules if the model has a factor there.
    """
    probe = _probe_states(anatomy.top[:, : ids.shape[1]])
    inputs: list[Tensor] = []
    size = (*ids.shape, anatomy.logits.shape[-1])
    numbers = _probe_numbers(size).to(probe)

    def give_states(_: nn.Module, args: Any, output: Any) -> Any:
        return put_state(output, probe)

    def read(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        inputs.append(state_in(args, kwargs))
        if args:
            return (inputs[0].to(tail.casts[-1]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": inputs[0].to(tail.casts[-1])}

    with ExitStack() as undone:
        for weight in (weight for module in tail.final for weight in [*module.parameters(), *module.buffers()]):
            if weight.is_floating_point() and weight.dtype != probe.dtype:
                undone.callback(setattr, weight, "data", weight.data)
                weight.data = weight.data.to(probe.dtype)
        undone.callback(anatomy.blocks[-1].register_forward_hook(give_states).remove)
        undone.callback(tail.head.register_forward_pre_hook(read, with_kwargs=True).remove)
        undone.callback(tail.head.register_forward_hook(lambda *_: numbers).remove)
        logits = model(input_ids=ids, use_cache=False).logits
        expected = probe
        for module in tail.final:
            expected = module(expected)
    if expected.shape != inputs[0].shape:
        raise Unsupported("its final norm could not be applied by itself")
    expected, logits = expected.to(inputs[0].device), logits.to(numbers.device)
    actual, expected = inputs[0].double(), expected.double()
    off = _off(inputs[0], expected)
    factor = float((actual * expected).sum() / expected.square().sum())
    if off > 1e-5 and abs(factor - 1) > 1e-5:
        off = _off(inputs[0], factor * expected)
        tail.final, tail.casts = [*tail.final, StateFactor(factor)], [*tail.casts, tail.casts[-1]]
    tail.finish, missed = _fit(numbers, logits)
    return max(off, missed)


def _off(got: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest number; rounding `got` to half precision is none."""
    apart = (got.double() - expected).abs()
    if got.dtype in (torch.bfloat16, torch.float16):
        exponent = torch.frexp(got.float()).exponent.double()
        apart = (apart - torch.finfo(got.dtype).eps * torch.exp2(exponent - 2)).clamp_min(0)
    return float(apart.max() / expected.abs().max())


def _probe_states(top: Tensor) -> Tensor:
    """States like a top layer's, and others a few times as large and as small, [batch, position, d_model] float32."""
    generator = torch.Generator().manual_seed(1)
    state = top.double() if top.dtype == torch.float64 else top.float()
    noise = torch.randn(state.shape, generator=generator).to(state) * state.std()
    size = torch.tensor([1.0, 0.25, 4.0, 16.0]).repeat(state.shape[1])[: state.shape[1]].to(state)
    return (state + noise) * size[:, None]


def _probe_numbers(size: tuple[int, ...]) -> Tensor:
    """Numbers [batch, position, vocab] between ±1e-3 at some positions and up to ±1e4 at others."""
    generator = torch.Generator().manual_seed(2)
    reach = torch.logspace(-3, 4, size[1])
    return (torch.rand(size, generator=generator) * 2 - 1) * reach[:, None]


def _fit(numbers: Tensor, logits: Tensor) -> tuple[Finish, float]:
    """The scale and soft-cap that bring `numbers` to `logits`, and the largest difference left, as a share."""
    z, y = numbers.double(), logits.double()
    if not bool(torch.isfinite(y).all()):
        raise Unsupported("it replaces some logits by infinity")
    scale = _rounded(float((y[:, 0] * z[:, 0]).sum() / z[:, 0].square().sum()))
    top, linear = float(y.abs().max()), Finish(scale)
    off = float((linear(z) - y).abs().max()) / top
    if off <= 1e-5:
        return linear, off
    capped = Finish(scale, _rounded(top))
    off = float((capped(z) - y).abs().max()) / top
    if off > 1e-4:
        raise Unsupported("what it does after its head is neither a scale nor a soft-cap")
    return capped, off


def _rounded(value: float) -> float:
    """A fitted number without the noise of its last digits, if a decimal of five digits is that near.

    >>> _rounded(29.99999998), _rounded(0.123456)
    (30.0, 0.123456)
    """
    near = float(f"{value:.5g}")
    return near if abs(value - near) <= 1e-6 * abs(value) else value
