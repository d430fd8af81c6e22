"""How far a model's positions reach, and at which lengths its position embeddings change, learnt by trying them."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from accord.lm.limits import Limits

# The largest length that is tried.
_LONGEST = 2**20
_SIZES = (12, 17)


class _Enough(Exception):
    """One block is all that is needed."""


@dataclass(frozen=True)
class PositionModule:
    """A module that makes numbers of positions alone, such as a rotary embedding; `call` runs it on other positions."""

    module: nn.Module
    device: torch.device
    call: Callable[[Tensor], list[Tensor]]


@dataclass(frozen=True)
class TrunkInputs:
    """What trying a trunk's inputs gave.

    Attributes:
        limits: which inputs it reads, and which may be read together.
        forget: what to call before each run, if its position embeddings keep a state.
        chooses_keys: whether it attends to the best few of all positions. Which of equal scores are among these then
            depends on how long the padded row is, and on how many rows there are.
    """

    limits: Limits
    forget: "Restore | None"
    chooses_keys: bool = False


class Restore:
    """Brings modules back to the state they have now: dynamic rope remembers the longest sequence it has seen."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._kept = [(module, _plain(module), _clones(module)) for module in modules]

    def __call__(self) -> None:
        """Forget what the modules have seen since."""
        for module, attributes, buffers in self._kept:
            for name in vars(module).keys() - attributes.keys() - _MODULE_KEYS:
                delattr(module, name)
            vars(module).update(attributes)
            module._buffers.update({name: buffer.clone() for name, buffer in buffers.items()})


_MODULE_KEYS = vars(nn.Module()).keys()


def _plain(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if name not in _MODULE_KEYS}


def _clones(module: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in module._buffers.items() if buffer is not None}


@torch.no_grad()
def find_limits(
    trunk: nn.Module, first: nn.Module, ids_of: Callable[[int, int], Tensor], numbers: Sequence[int]
) -> TrunkInputs:
    """The limits of a trunk's inputs, and how it must be run.

    Args:
        first: its first block.
        ids_of: gives so many rows of so many ordinary token ids.
        numbers: of the config: lengths at which something may change.
    """
    short, long = (ids_of(1, size) for size in _SIZES)  # a size that follows the length is not that of a table
    with _positions(trunk, long.shape[1]) as modules:
        lookups = _run(trunk, first, long, until="end")
    tables = lookups.tables & _run(trunk, first, short, until="block").tables
    lengths = [table.size for table in tables if table.by == "position"]
    longest = min(lengths, default=None)
    if longest is not None and any(table.size == longest and not table.in_block for table in tables):
        try:  # some tables grow when a longer sequence comes
            _run(trunk, first, ids_of(1, longest + 1), until="start")
            longest = min((table.size for table in tables if table.by == "position" and table.in_block), default=None)
        except (IndexError, RuntimeError, ValueError):
            pass
    limits = Limits(ids=min((table.size for table in tables if table.by == "id"), default=None), length=longest)
    changes = [_switches(module, numbers, longest or _LONGEST) for module in modules]
    if lookups.chooses_keys:
        return TrunkInputs(replace(limits, each_from=1), None, chooses_keys=True)
    if all(change == ((), None) for change in changes):
        return TrunkInputs(limits, None)
    each_from = min((start for _, start in changes if start is not None), default=None)
    switches = sorted({switch for own, _ in changes for switch in own})
    dependent = [module.module for module, change in zip(modules, changes, strict=True) if change != ((), None)]
    return TrunkInputs(replace(limits, switches=tuple(switches), each_from=each_from), Restore(dependent))


@dataclass(frozen=True)
class _Table:
    """Something with `size` rows that is looked up by token id or by position, before or inside the first block."""

    by: str
    size: int
    in_block: bool


def _run(trunk: nn.Module, first: nn.Module, ids: Tensor, *, until: Literal["start", "block", "end"]) -> "_Lookups":
    """Run a trunk until its first block starts, or until that block ends, or to the end, and watch what it looks up."""
    lookups = _Lookups(ids)

    def begin(*_: Any) -> None:
        lookups.in_block = True
        if until == "start":
            raise _Enough

    def end(*_: Any) -> None:
        if until == "block":
            raise _Enough

    with ExitStack() as hooks:
        hooks.callback(first.register_forward_pre_hook(begin).remove)
        hooks.callback(first.register_forward_hook(end).remove)
        hooks.enter_context(lookups)
        with suppress(_Enough):
            trunk(input_ids=ids, use_cache=False)
    return lookups


class _Lookups(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches what is looked up by token id and by position; refuses what a GPU would not survive."""

    def __init__(self, ids: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ids, self.in_block, self.tables, self.chooses_keys = ids, False, set[_Table](), False
        self._made_here: set[int] = set()  # what a block makes and cuts to size, such as padded chunks, is no table

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aten = torch.ops.aten
        if func is aten.embedding.default:
            self._look(args[0].shape[0], args[1])
        elif func in (aten.gather.default, aten.index_select.default):
            index = args[2] if args[2].ndim == 1 else args[2].movedim(args[1], -1)
            self._look(args[0].shape[args[1]], index)
        elif func is aten.index.Tensor:
            for dimension, index in enumerate(args[1]):
                if isinstance(index, Tensor) and index.dtype in (torch.int64, torch.int32):
                    self._look(args[0].shape[dimension], index)
        elif func is aten.topk.default:
            self.chooses_keys |= args[0].shape[args[2] if len(args) > 2 else -1] == self.ids.shape[1]
        output = func(*args, **(kwargs or {}))
        if self.in_block and func is aten.slice.Tensor and _storage(args[0]) not in self._made_here:
            dimension = args[1] if len(args) > 1 else 0
            size, width = args[0].shape[dimension], self.ids.shape[1]
            if output.shape[dimension] == width < size:
                self.tables.add(_Table("position", size, self.in_block))
        elif self.in_block and isinstance(output, Tensor):
            self._made_here.add(_storage(output))
        return output

    def _look(self, size: int, index: Tensor) -> None:
        if index.numel() and not -size <= int(index.min()) <= int(index.max()) < size:
            raise IndexError("a lookup beyond a table")
        if index.shape == self.ids.shape and torch.equal(index.to(self.ids), self.ids):
            self.tables.add(_Table("id", size, self.in_block))
        elif index.numel() and index.shape[-1:] == self.ids.shape[1:] and (offset := _offset(index)) is not None:
            self.tables.add(_Table("position", size - offset, self.in_block))


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _offset(index: Tensor) -> int | None:
    """The first position of an index of consecutive positions, the same in every row; None of any other index.

    >>> _offset(torch.tensor([[3, 4, 5], [3, 4, 5]])), _offset(torch.tensor([[3, 5]]))
    (3, None)
    """
    row = index.reshape(-1, index.shape[-1])
    steps = torch.arange(index.shape[-1], device=index.device) + row[0, 0]
    return int(row[0, 0]) if int(row[0, 0]) >= 0 and bool((row == steps).all()) else None


@contextmanager
def _positions(trunk: nn.Module, size: int) -> Iterator[list[PositionModule]]:
    """The modules without weights that are given positions and make numbers of them, while open."""
    distinct: dict[int, PositionModule] = {}

    def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        places = [i for i, value in enumerate(args) if _is_positions(value, size)]
        names = [name for name, value in kwargs.items() if _is_positions(value, size)]
        if not (places or names) or not _tensors(output) or any(True for _ in module.parameters()):
            return

        def call(positions: Tensor) -> list[Tensor]:
            positional = list(args)
            for i in places:
                positional[i] = positions.expand(*args[i].shape[:-1], -1)
            named = {name: positions.expand(*kwargs[name].shape[:-1], -1) for name in names}
            return _tensors(module(*positional, **{**kwargs, **named}))

        # One module may serve several kinds of layers: each call is a module of its own.
        rest = [str(value) for value in [*args, *kwargs.values()] if isinstance(value, str)]
        device = (args[places[0]] if places else kwargs[names[0]]).device
        distinct.setdefault(hash((id(module), *rest)), PositionModule(module, device, call))

    modules: list[PositionModule] = []
    with ExitStack() as hooks:
        for module in trunk.modules():
            hooks.callback(module.register_forward_hook(keep, with_kwargs=True).remove)
        yield modules
    modules.extend(distinct.values())


def _is_positions(value: Any, size: int) -> bool:
    return (
        isinstance(value, Tensor)
        and value.dtype in (torch.int64, torch.int32)
        and value.ndim > 0
        and value.shape[-1] == size
        and _offset(value) == 0
    )


def _tensors(output: Any) -> list[Tensor]:
    values = output if isinstance(output, tuple | list) else [output]
    return [v for v in values if isinstance(v, Tensor) and (v.is_floating_point() or v.is_complex())]


def _switches(module: PositionModule, numbers: Sequence[int], longest: int) -> tuple[tuple[int, ...], int | None]:
    """Lengths at which the numbers of the first positions change, and the length from which on they change at each."""
    fresh = Restore([module.module])
    memo: dict[int, list[Tensor]] = {}

    def first(length: int) -> list[Tensor]:
        """The numbers of the first positions in a sequence of `length` tokens."""
        if length not in memo:
            fresh()
            positions = torch.tensor([*range(4), length - 1], device=module.device)
            memo[length] = [
                value.narrow(value.shape.index(5), 0, 4).clone() for value in module.call(positions) if 5 in value.shape
            ]
        return memo[length]

    def same(a: int, b: int) -> bool:
        return all(torch.equal(x, y) for x, y in zip(first(a), first(b), strict=True))

    tried = {2**power for power in range(3, 21)} | {number + more for number in numbers for more in (0, 1, 2)}
    lengths = sorted(length for length in tried if 8 <= length <= longest)
    switches: list[int] = []
    try:
        for below, above in itertools.pairwise(lengths):
            if same(below, above):
                continue
            low, high = below, above  # the first length that differs from `below`
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if same(below, middle) else (low, middle)
            if not same(high, high + 1):
                return tuple(switches), high
            switches.append(high)
            if not same(high, above):  # two switches between the lengths that are tried
                return tuple(switches), high
        return tuple(switches), None
    except (RuntimeError, TypeError, ValueError, IndexError):
        return tuple(switches), None
    finally:
        fresh()
