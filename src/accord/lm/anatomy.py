"""Where a network keeps its blocks, its trunk, its final norm and its head, learnt by watching it read a short text.

No attribute and no config name is looked up. What counts is what ran, in which order, and which states were handed on:
a vision tower of the same depth does not run on text, and a list of experts does not hand its states on.
"""

import inspect
import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from accord.lm.tail import Tail, Unsupported, state_in, state_out


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


def dissect(model: nn.Module, ids: Tensor) -> Anatomy:
    """Find the parts of `model` by running it on `ids` [batch, position].

    Raises:
        Unsupported: no chain of blocks, no head, or nothing that runs the blocks without the head.
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
    """The calls of the blocks: of all lists whose members hand a state on, the list that does most of the work."""
    calls: dict[int, list[_Run]] = {}
    for run in runs:
        calls.setdefault(id(run.module), []).append(run)
    best: list[_Run] = []
    broken = "no list of blocks in it that hand their states on"
    for members in (module for module in model.modules() if isinstance(module, nn.ModuleList)):
        chain = [run for member in members for run in calls.get(id(member), [])]
        if not chain or len({id(run.module) for run in chain}) != len(chain):  # a block runs once
            continue
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
    """Why calls are no chain of blocks: a state of another shape, or not the state that the block before left."""
    states = [(run.before, state_out(run.after)) for run in chain]
    for state in (state for pair in states for state in pair):
        if not isinstance(state, Tensor) or not state.is_floating_point():
            return "no list of blocks in it that hand their states on"
        if state.ndim != 3 or state.shape[:2] != ids.shape or state.shape[-1] != states[0][0].shape[-1]:
            return f"its states are {list(state.shape)} for ids {list(ids.shape)}, not [batch, position, d_model]"
    for layer, ((_, left), (entered, _)) in enumerate(itertools.pairwise(states), start=1):
        if left is not entered and not torch.equal(left, entered.to(left.device)):
            return f"what leaves its block {layer} is not what enters the next"
    return None


def _heads(runs: list[_Run], logits: Tensor, after: int) -> list[_Run]:
    """What may be the head, innermost first: the first call behind the blocks that gives a number for every token.

    A module around a head that only passes its numbers on may be the head as well (a dense layer and an activation
    before the last matrix). An adapter changes the numbers of the matrix in it, so it alone is the head.
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
    """The calls between the last block and a head, without the calls inside these.

    First all of them, then only the chain in which each call gets what the call before left: a pooler is not in it.
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
        outputs: list[Any] = []
        handle = chain[-1].module.register_forward_hook(lambda _, args, output, outputs=outputs: outputs.append(output))
        try:
            run.module(input_ids=ids, use_cache=False)
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError):
            continue
        finally:
            handle.remove()
        if len(outputs) != 1:
            continue
        state = state_out(outputs[0]).to(top.device)
        if torch.allclose(state, top, rtol=1e-3, atol=1e-5, equal_nan=True):
            return run.module
    raise Unsupported("nothing in it runs its blocks on token ids without its head")
