"""A device that is not there: its tensors are computed on the CPU, and what a GPU refuses to mix is refused.

So code that mixes devices, and code that waits for the device, shows on a machine without a GPU. What a GPU does is
modelled as PyTorch's CUDA backend has it (`check_mixed`, `waits_for`); tests/gpu/test_device.py holds it to that, on a
real GPU too. PyTorch lets a process have one such device, for good: tests of it run in a process of their own, see
tests/test_gpu.py.
"""

import sys
from collections.abc import Callable
from typing import Any

import safetensors.torch
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "elsewhere"

# Takes tensors of both: it is what moves them.
_MOVES = {"copy_", "_to_copy", "set_"}
_INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_"}
# Takes no number of the CPU in a tensor's place, as arithmetic does.
_STRICT = {
    *("cat", "stack", "gather", "scatter", "scatter_", "scatter_add", "scatter_add_", "index_select", "index_add"),
    *("index_add_", "index_copy", "index_copy_", "embedding", "take", "mm", "bmm", "addmm", "baddbmm", "mv", "dot"),
    *("masked_scatter", "masked_scatter_", "masked_select", "sort", "searchsorted", "isin"),
}
# The size or the value of what these give is known only when the device is done.
_WAITS = {
    **dict.fromkeys(("_local_scalar_dense", "item"), "a number of it is read"),
    **dict.fromkeys(("nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive"), "a size is read"),
    **dict.fromkeys(("bincount", "repeat_interleave", "equal", "_linalg_svd", "_linalg_eigh"), "a size is read"),
}

waited: Callable[[str], None] | None = None
"""Called with a reason wherever the program waits for the device; see tests/waiting.py."""


class Elsewhere(Tensor):
    """A tensor that says it is on that device, and holds a tensor on the CPU."""

    raw: Tensor

    @staticmethod
    def __new__(cls, raw: Tensor) -> "Elsewhere":
        tensor: Elsewhere = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            raw.shape,
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            device=torch.device(NAME, 0),
            requires_grad=raw.requires_grad,
        )
        tensor.raw = _raw(raw)
        return tensor

    def __repr__(self, **_: Any) -> str:
        return f"elsewhere: {self.raw}"

    def tolist(self) -> Any:
        _wait("numbers of it are read")
        return self.raw.tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert a tensor of this device to numpy")

    __array__ = numpy

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.raw.untyped_storage()

    def storage(self) -> Any:
        return self.raw.storage()

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(function, args, kwargs or {})


def _computed(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = function._schema.name.rpartition("::")[2]
    device = kwargs.get("device")
    to_cpu = device is not None and torch.device(device).type == "cpu"
    theirs, ours = _sides((args, tuple(kwargs.values())))
    if theirs:
        check_mixed(name, args, theirs, ours)
    _check_generator(kwargs, NAME)
    if waited is not None and (reason := waits_for(name, args, kwargs, to_cpu, theirs, ours)):
        _wait(reason)
    if device is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    result = function(*_raws(args), **{key: _raws(value) for key, value in kwargs.items()})
    if to_cpu:
        return result
    if name.endswith("_") and isinstance(args[0], Tensor):  # in place
        return args[0]
    return _wrapped(result)


def _sides(values: Any) -> tuple[list[Tensor], list[Tensor]]:
    """The tensors among arguments: of the CPU, of the device."""
    theirs: list[Tensor] = []
    ours: list[Tensor] = []
    rest = list(values)
    while rest:
        value = rest.pop()
        if isinstance(value, Elsewhere):
            ours.append(value)
        elif isinstance(value, Tensor):
            theirs.append(value)
        elif isinstance(value, list | tuple):
            rest.extend(value)
    return theirs, ours


def _raw(value: Any) -> Any:
    while isinstance(value, Elsewhere):
        value = value.raw
    return value


def _raws(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_raws, value))
    return _raw(value)


def _wrapped(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_wrapped, value))
    return Elsewhere(value) if isinstance(value, Tensor) else value


def check_mixed(name: str, args: Any, theirs: list[Tensor], ours: list[Tensor]) -> None:
    """Raises RuntimeError where a GPU would: `theirs` are an operation's tensors of the CPU, `ours` the device's.

    A tensor of the device takes indices of the CPU, and one of the CPU none of the device. A single number (a tensor
    without dimensions) of the CPU may stand in arithmetic with tensors of the device, but not the other way round, and
    nothing of the device is written into a tensor of the CPU in passing.
    """
    if name in _MOVES or not ours:
        return
    here = isinstance(args[0], Elsewhere)
    if name in _INDEXED:
        if not here:
            if any(isinstance(index, Elsewhere) for index in args[1]):
                raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
            allowed = not ours[0].ndim  # the one number that is put there
        else:
            allowed = len(args) < 3 or isinstance(args[2], Elsewhere) or not args[2].ndim
    else:
        written = name.endswith("_") and not name.endswith("__") and isinstance(args[0], Tensor) and not here
        allowed = not written and name not in _STRICT and not any(value.ndim for value in theirs)
    if not allowed:
        raise RuntimeError(f"Expected all tensors to be on the same device, but found {NAME}:0 and cpu: {name}")


def waits_for(
    name: str, args: Any, kwargs: dict[str, Any], to_cpu: bool, theirs: list[Tensor], ours: list[Tensor]
) -> str | None:
    """Why the program waits for a GPU in this operation, None where it does not.

    It waits for numbers and sizes that are read, and for every copy from or to memory that is not pinned, indices of
    the CPU among them; what `torch.cuda.set_sync_debug_mode` reports.
    """
    if name in ("copy_", "_to_copy"):
        late = kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2])
        across = bool(theirs and (ours or not to_cpu)) or bool(ours and to_cpu)
        return "it is copied from or to the CPU" if across and not late else None
    if not ours:
        return None
    if name in _INDEXED:
        indices = [index for index in args[1] if index is not None]
        if any(isinstance(index, Elsewhere) and index.dtype in (torch.bool, torch.uint8) for index in indices):
            number = name != "index" and len(indices) == 1 and not args[2].ndim
            return None if number else "a mask is counted"  # a number is put by the mask itself
        return "an index is copied from the CPU" if any(not isinstance(i, Elsewhere) for i in indices) else None
    if name == "repeat_interleave" and kwargs.get("output_size") is not None:
        return None
    return _WAITS.get(name)


def _wait(reason: str) -> None:
    if waited is not None:
        waited(reason)


class _Everywhere(TorchDispatchMode):
    """Takes what makes a tensor of nothing: there is no tensor of the device yet that could."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if Elsewhere in types:
            return _computed(function, args, kwargs or {})
        device = kwargs.get("device") if kwargs else None
        if device is not None and torch.device(device).type == NAME:
            return _computed(function, args, kwargs)
        if kwargs:
            _check_generator(kwargs, "cpu")
        return function(*args, **(kwargs or {}))


_PLAIN_GENERATOR = torch.Generator


_THEIR_GENERATORS: set[int] = set()  # where those of the device lie


class _Generator(torch.Generator):
    """PyTorch has no generators for such a device: each is the CPU's, and says where it belongs."""

    place = torch.device("cpu")

    def __new__(cls, device: Any = "cpu") -> "_Generator":
        generator: _Generator = _PLAIN_GENERATOR.__new__(cls)
        generator.place = torch.device(device)
        note = _THEIR_GENERATORS.add if generator.place.type == NAME else _THEIR_GENERATORS.discard
        note(generator._cdata)
        return generator

    @property
    def device(self) -> torch.device:
        return self.place


def _check_generator(kwargs: dict[str, Any], wanted: str) -> None:
    generator = kwargs.get("generator")
    found = NAME if generator is not None and generator._cdata in _THEIR_GENERATORS else "cpu"
    if generator is not None and found != wanted:
        raise RuntimeError(f"Expected a '{wanted}' device type for generator but found '{found}'")


_LIBRARY: list[torch.library.Library] = []


def install() -> torch.device:
    """Make the device known to PyTorch; every model is then opened on it."""
    _setup_privateuseone_for_python_backend(NAME)
    library = torch.library.Library("aten", "IMPL")

    def empty(size: Any, *, dtype: Any = None, layout: Any = None, device: Any = None, **_: Any) -> Tensor:
        return Elsewhere(torch.empty(size, dtype=dtype))

    def empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> Tensor:
        return Elsewhere(torch.empty_strided(size, stride, dtype=dtype))

    def copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
        if not non_blocking and isinstance(source, Elsewhere) != isinstance(target, Elsewhere):
            _wait("it is copied from or to the CPU")  # as torch.tensor([1, 2], device=...) does
        _raw(target).copy_(_raw(source))
        return target

    library.impl("empty.memory_format", empty, "PrivateUse1")
    library.impl("empty_strided", empty_strided, "PrivateUse1")
    library.impl("_copy_from", copy_from, "PrivateUse1")
    _LIBRARY.append(library)
    torch.Generator = _Generator  # type: ignore[misc]
    _Everywhere().__enter__()
    device = torch.device(NAME, 0)
    _open_everything_on(device)
    return device


def _open_everything_on(device: torch.device) -> None:
    from accord.lm import devices, opening, placement

    placement.PLAIN.add(Elsewhere)
    load_file, chosen = safetensors.torch.load_file, opening.pick_device

    def load_there(path: Any, device: Any = "cpu") -> dict[str, Tensor]:
        return {name: tensor.to(device) for name, tensor in load_file(path).items()}

    safetensors.torch.load_file = load_there
    for name, module in [*sys.modules.items()]:  # those that have it already
        if name.startswith("accord.") and vars(module).get("load_file") is load_file:
            module.load_file = load_there  # type: ignore[attr-defined]
    devices.pick_device = opening.pick_device = lambda name: chosen(name) if name == "cpu" else device
