"""A device that is not there: tensors on it are computed on the CPU, and mixing them with the CPU's is an error.

That is what a GPU demands, so code that mixes devices shows on a machine without a GPU. PyTorch lets a process have
one such device, for good, so a study is tried in a process of its own: `python -m tests.devices STUDY.toml FOLDER`.
"""

import io
import sys
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from rich.console import Console
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "elsewhere"
# What may take a tensor of each device: moving from one to the other, and indices, which a GPU takes from the CPU.
_BETWEEN = {"copy_", "_to_copy", "index", "index_put", "index_put_", "_index_put_impl_", "set_"}


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
        return _computed(function, args, dict(kwargs or {}))


def _computed(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    _check(function, args, kwargs)
    device = kwargs.get("device")
    if device is not None:
        kwargs["device"] = torch.device("cpu")
    plain = tree_map(_raw, (args, kwargs))
    result = function(*plain[0], **plain[1])
    if device is not None and torch.device(device).type == "cpu":
        return result
    if function._schema.name.endswith("_") and isinstance(args[0], Tensor):  # in place
        return args[0]
    return tree_map(lambda value: Elsewhere(value) if isinstance(value, Tensor) else value, result)


def _raw(value: Any) -> Any:
    while isinstance(value, Elsewhere):
        value = value.raw
    return value


def _check(function: Any, args: Any, kwargs: Any) -> None:
    """Raises RuntimeError where a GPU would: tensors of the CPU beside its own, single numbers excepted."""
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
    here = [value for value in tensors if not isinstance(value, Elsewhere)]
    name = function._schema.name.rpartition("::")[2]
    if len(here) < len(tensors) and any(value.ndim for value in here):
        inside = isinstance(args[0], Elsewhere) and (len(args) < 3 or not _strange(args[2]))
        if name not in _BETWEEN or (name.startswith(("index", "_index")) and not inside):
            raise RuntimeError(f"Expected all tensors to be on the same device: {function}")


def _strange(value: Any) -> bool:
    return isinstance(value, Tensor) and not isinstance(value, Elsewhere) and value.ndim > 0


class _Everywhere(TorchDispatchMode):
    """Takes what makes a tensor of nothing: there is no tensor of the device yet that could."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        device = (kwargs or {}).get("device")
        on = device is not None and torch.device(device).type == NAME
        if on and not any(isinstance(value, Tensor) for value in tree_leaves((args, kwargs))):
            return _computed(function, args, dict(kwargs))
        return function(*args, **(kwargs or {}))


class _Generator(torch.Generator):
    """PyTorch has no generators for such a device: all are the CPU's."""

    def __new__(cls, device: Any = "cpu") -> torch.Generator:  # type: ignore[misc]
        return _CPU_GENERATOR()


_CPU_GENERATOR = torch.Generator
_LIBRARY: list[torch.library.Library] = []


def install() -> torch.device:
    """Make the device known to PyTorch."""
    _setup_privateuseone_for_python_backend(NAME)
    library = torch.library.Library("aten", "IMPL")

    def empty(size: Any, *, dtype: Any = None, layout: Any = None, device: Any = None, **_: Any) -> Tensor:
        return Elsewhere(torch.empty(size, dtype=dtype))

    def empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> Tensor:
        return Elsewhere(torch.empty_strided(size, stride, dtype=dtype))

    def copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
        _raw(target).copy_(_raw(source))
        return target

    library.impl("empty.memory_format", empty, "PrivateUse1")
    library.impl("empty_strided", empty_strided, "PrivateUse1")
    library.impl("_copy_from", copy_from, "PrivateUse1")
    _LIBRARY.append(library)
    torch.Generator = _Generator  # type: ignore[misc]
    _Everywhere().__enter__()
    return torch.device(NAME, 0)


def run_study(file: Path, folder: Path) -> None:
    """Run a study whose models are all on the device, whatever it says."""
    device = install()
    load_file = safetensors.torch.load_file

    def load_there(path: Any, device: Any = "cpu") -> dict[str, Tensor]:
        return {name: tensor.to(device) for name, tensor in load_file(path).items()}

    safetensors.torch.load_file = load_there
    from accord.lm import devices, opening

    devices.pick_device = opening.pick_device = lambda _: device
    from accord.study import engine

    engine.run(file, folder, console=Console(file=io.StringIO()))


if __name__ == "__main__":
    run_study(Path(sys.argv[1]), Path(sys.argv[2]))
