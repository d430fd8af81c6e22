"""Where a network keeps its blocks, its trunk, its final norm and its head: found by watching it read a short text.

No attribute and no config name is looked up. What ran, in which order, and what was handed on tells: a vision tower of
the same depth does not run on text, a list of experts does not hand its states on, and a soft-cap of any name bends
the numbers that a head puts out.
"""

import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Hook = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any]


class Unsupported(Exception):
    """Why a network does not fit; `Backbone` makes the error of it that users see."""


@dataclass(frozen=True)
class Finish:
    """What a model does to the numbers of its head: cap · tanh(scale · z / cap), or scale · z without a cap."""

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        """The model's logits of the head's."""
        if self.scale != 1.0:
            logits = logits * self.scale
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap

    def __str__(self) -> str:
        parts = [f"× {self.scale:.4g}"] if self.scale != 1.0 else []
        return ", ".join(parts + ([f"soft-cap {self.cap:.4g}"] if self.cap is not None else [])) or "nothing"


class Scale(nn.Module):
    """A factor between final norm and head, for models that have one there."""

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


@dataclass(frozen=True)
class Anatomy:
    """What a causal model is made of.

    Attributes:
        trunk: turns `input_ids` into the states that leave the last block; the head is not in it.
        blocks: those that run on text, in order; `blocks[l - 1]` is the block that layer l leaves.
        tails: what may be its final modules and head, the finest division first.
        logits, top: of the short text that was read, [batch, position, vocab] and [batch, position, d_model].
    """

    trunk: nn.Module
    blocks: list[nn.Module]
    tails: list[Tail]
    logits: Tensor = field(repr=False)
    top: Tensor = field(repr=False)


@dataclass
class _Run:
    """One call of a module: when it began and ended, and the state that went in and came out."""

    module: nn.Module
    begin: int
    end: int = -1
    before: Any = None
    after: Any = None


def state_in(args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The state that a block is given: its first argument, or the one called `hidden_states`."""
    return args[0] if args else kwargs.get("hidden_states")


def state_out(output: Any) -> Any:
    """The state that a block gives: its output, or the first entry of that."""
    return output[0] if isinstance(output, tuple | list) else output


def put_state(output: Any, state: Tensor) -> Any:
    """A block's output with another state in it."""
    return type(output)((state, *output[1:])) if isinstance(output, tuple | list) else state


def dissect(model: nn.Module, ids: Tensor) -> Anatomy:
    """Find the parts of `model` by running it on `ids` [batch, position].

    Raises:
        Unsupported: no chain of blocks, no head, or nothing that runs the one without the other.
    """
    with _watching(model) as runs:
        output = model(input_ids=ids, use_cache=False)
    logits = getattr(output, "logits", None)
    if not isinstance(logits, Tensor) or logits.shape[:2] != ids.shape:
        raise Unsupported("it gives no logits [batch, position, vocabulary] for token ids alone")
    chain = _blocks(model, runs, ids)
    heads = _heads(runs, logits, chain[-1].end)
    top = state_out(chain[-1].after)
    trunk = _trunk(runs, chain, heads[-1], ids, top)
    tails = [_tail(final, head, top) for head in heads for final in _between(runs, chain, head)]
    return Anatomy(trunk, [run.module for run in chain], tails, logits.detach(), top)


@contextmanager
def _watching(model: nn.Module) -> Iterator[list[_Run]]:
    """Every call of every module while open, in the order in which calls begin."""
    runs: list[_Run] = []
    open_runs: list[_Run] = []
    clock = 0

    def begin(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal clock
        clock += 1
        runs.append(_Run(module, clock, before=state_in(args, kwargs)))
        open_runs.append(runs[-1])

    def end(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        nonlocal clock
        clock += 1
        run = open_runs.pop()
        run.end, run.after = clock, output

    with ExitStack() as hooks:
        for module in model.modules():
            hooks.callback(module.register_forward_pre_hook(begin, with_kwargs=True).remove)
            hooks.callback(module.register_forward_hook(end).remove)
        yield runs


def _blocks(model: nn.Module, runs: list[_Run], ids: Tensor) -> list[_Run]:
    """The calls of the blocks: of the lists whose members hand a state on, the one that does most of the work."""
    calls: dict[int, list[_Run]] = {}
    for run in runs:
        calls.setdefault(id(run.module), []).append(run)
    best: list[_Run] = []
    broken = "no list of blocks in it that hand their states on"
    for members in (module for module in model.modules() if isinstance(module, nn.ModuleList)):
        ran = [calls[id(member)] for member in members if id(member) in calls]
        if not ran or any(len(own) != 1 for own in ran):
            continue
        chain = [own[0] for own in ran]
        ordered = all(a.end < b.begin for a, b in itertools.pairwise(chain))
        if not ordered or (best and _span(chain) <= _span(best)):
            continue
        if reason := _breaks(chain, ids):
            broken = reason if len(chain) > 1 else broken
            continue
        best = chain
    if not best:
        raise Unsupported(broken)
    return best


def _span(chain: list[_Run]) -> int:
    return sum(run.end - run.begin for run in chain)


def _breaks(chain: list[_Run], ids: Tensor) -> str | None:
    """Why calls are no chain of blocks: a state of another shape, or one that is not what the block before left."""
    states = [(run.before, state_out(run.after)) for run in chain]
    for state in (state for pair in states for state in pair):
        if not isinstance(state, Tensor) or not state.is_floating_point():
            return "no list of blocks in it that hand their states on"
        if state.ndim != 3 or state.shape[:2] != ids.shape or state.shape[-1] != states[0][0].shape[-1]:
            return f"its states are {list(state.shape)} for ids {list(ids.shape)}, not [batch, position, d_model]"
    for layer, ((_, left), (entered, _)) in enumerate(itertools.pairwise(states), start=1):
        if left is not entered and not torch.equal(left, entered):
            return f"what leaves its block {layer} is not what enters the next"
    return None


def _heads(runs: list[_Run], logits: Tensor, after: int) -> list[_Run]:
    """What may be the head, innermost first: the first call behind the blocks that gives a number for every token.

    A module that only passes on what a module in it made is the head as well (a dense layer and an activation before
    the last matrix); an adapter, which adds to what is in it, is the head alone.
    """
    wide = [
        run for run in runs if run.begin > after and isinstance(run.after, Tensor) and run.after.shape == logits.shape
    ]
    wide = [run for run in wide if any(True for _ in run.module.parameters())]
    if not wide:
        raise Unsupported("no head ran after its blocks")
    heads = wide[:1]
    for run in wide[1:]:
        if run.end < heads[-1].end and run.after is heads[-1].after:
            heads.append(run)
    return heads[::-1]


def _between(runs: list[_Run], chain: list[_Run], head: _Run) -> Iterator[list[_Run]]:
    """The calls between the last block and a head; what is inside one of them does not count.

    First all of them, then those alone that were given what the one before left: a pooler is not on the way.
    """
    inside = [run for run in runs if run.begin > chain[-1].end and -1 < run.end < head.begin]
    outer = [run for run in inside if not any(other.begin < run.begin and run.end < other.end for other in inside)]
    yield outer
    state, way = state_out(chain[-1].after), []
    for run in outer:
        if run.before is state:
            way.append(run)
            state = state_out(run.after)
    if len(way) < len(outer):
        yield way


def _tail(final: list[_Run], head: _Run, top: Tensor) -> Tail:
    casts = [run.before.dtype if isinstance(run.before, Tensor) else top.dtype for run in [*final, head]]
    return Tail([run.module for run in final], head.module, casts)


def _trunk(runs: list[_Run], chain: list[_Run], head: _Run, ids: Tensor, top: Tensor) -> nn.Module:
    """The innermost module that takes ids, runs all the blocks as the whole model does, and does not run the head."""
    around = [run for run in runs if run.begin < chain[0].begin and chain[-1].end < run.end < head.begin]
    for run in reversed(around):
        takes = inspect.signature(run.module.forward).parameters
        if "input_ids" not in takes and not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
            continue
        kept: list[Any] = []
        handle = chain[-1].module.register_forward_hook(lambda _, args, output, kept=kept: kept.append(output))
        try:
            run.module(input_ids=ids, use_cache=False)
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError):
            continue
        finally:
            handle.remove()
        if len(kept) == 1 and torch.allclose(state_out(kept[0]), top, rtol=1e-3, atol=1e-5, equal_nan=True):
            return run.module
    raise Unsupported("nothing in it runs its blocks on token ids without its head")


def learn_tail(model: nn.Module, anatomy: Anatomy, ids: Tensor, enough: float) -> tuple[Tail, float]:
    """The first of an anatomy's tails that is right to `enough`, or the last; and the largest difference that is left.

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


def _learn(model: nn.Module, anatomy: Anatomy, tail: Tail, ids: Tensor) -> float:
    """Learn what the model does between its norm and its head and after the head; the largest difference that is left.

    The model's own forward pass is given float32 states in the place of those that leave its last block, and numbers
    over a wide range in the place of those that leave its head; its final modules work in float32 meanwhile. So the
    proof is as tight in half precision as in float32, and a soft-cap shows however small the logits are.

    Sets the tail's finish, and adds a `Scale` to its final modules where one is needed.
    """
    probe = _probe_states(anatomy.top[:, : ids.shape[1]])
    fed: list[Tensor] = []
    size = (*ids.shape, anatomy.logits.shape[-1])
    numbers = _probe_numbers(size).to(probe)

    def give_states(_: nn.Module, args: Any, output: Any) -> Any:
        return put_state(output, probe)

    def read(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        fed.append(state_in(args, kwargs))
        if args:
            return (fed[0].to(tail.casts[-1]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": fed[0].to(tail.casts[-1])}

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
    if expected.shape != fed[0].shape:
        raise Unsupported("its final norm could not be applied by itself")
    actual, expected = fed[0].double(), expected.double()
    off = _off(fed[0], expected)
    factor = float((actual * expected).sum() / expected.square().sum())
    if off > 1e-5 and abs(factor - 1) > 1e-5:
        off = _off(fed[0], factor * expected)
        tail.final, tail.casts = [*tail.final, Scale(factor)], [*tail.casts, tail.casts[-1]]
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
    scale = float((y[:, 0] * z[:, 0]).sum() / z[:, 0].square().sum())
    scale = _rounded(scale)
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
    """A fitted number without the noise of its last digits, if a short decimal is that near."""
    near = float(f"{value:.5g}")
    return near if abs(value - near) <= 1e-6 * abs(value) else value
