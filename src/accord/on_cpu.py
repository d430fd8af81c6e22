"""What PyTorch does slowly on some CPUs, done by its own quicker ways: the same numbers but for float error.

Float32 products: PyTorch has Intel's MKL multiply, which uses the 512-bit units of Intel's processors only. On others
that have such units it reaches half of what they can do (AMD Zen 5, two cores: 210 GFLOP/s of 490). PyTorch carries
another library, oneDNN, which goes by the units and not by the maker.

Attention in bfloat16, with gradients: what carries gradients back through it is thirteen times slower than the same in
float32 (AMD Zen 5), and took two fifths of a training step.
"""

import platform
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_CPU = Path("/proc/cpuinfo")
# Multiplications and additions from which oneDNN's own start (10 µs) is worth it.
_LEAST = 500_000
_active: ContextVar[bool] = ContextVar("active", default=False)


@contextmanager
def quick() -> Iterator[None]:
    """Inside, float32 products run by oneDNN where that is the quicker library, and bfloat16 attention learns quickly.

    Gradients are carried back in the same ways, also after the block. On GPUs nothing changes.

    >>> x, W = torch.ones(2, 3), torch.ones(4, 3)
    >>> with quick():
    ...     (x @ W.T).tolist()
    [[3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 3.0]]
    """
    if _active.get() or not (prefers_onednn() or multiplies_bfloat16()):
        yield
        return
    ways = {**(_PRODUCTS if prefers_onednn() else {}), **(_ATTENTION if multiplies_bfloat16() else {})}
    token = _active.set(True)
    try:
        with _Ways(ways):
            yield
    finally:
        _active.reset(token)


@cache
def prefers_onednn() -> bool:
    """Whether this machine's float32 products are quicker by oneDNN: 512-bit units, in a CPU that is not Intel's."""
    if not _units().get("avx512_f") or not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return False
    return _maker() not in ("GenuineIntel", "") and _works()


@cache
def multiplies_bfloat16() -> bool:
    """Whether this CPU has units that multiply bfloat16; with AVX512-BF16 a model runs almost twice as fast so."""
    return any(_units().get(unit, False) for unit in ("amx_bf16", "avx512_bf16", "bf16"))


def _units() -> dict[str, Any]:
    has: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return has


def _maker() -> str:
    """The CPU's maker as it names itself ("AuthenticAMD"), or nothing where that is unknown."""
    said = _CPU.read_text() if _CPU.exists() else platform.processor()
    found = re.search(r"\b(?:Genuine|Authentic)\w+", said)
    return found[0] if found else ""


def _works() -> bool:
    """Whether the operator, which PyTorch keeps for its own compiler, is there and multiplies."""
    x, W, b = torch.randn(3, 5), torch.randn(4, 5), torch.randn(4)
    try:
        return torch.allclose(_product(x, W, b), torch.addmm(b, x, W.T), atol=1e-4)
    except (AttributeError, RuntimeError, TypeError):
        return False


def _product(x: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    """x Wᵀ + b, float32 [..., out], of x [..., in], W [out, in] and b [out]; strides may be any."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, W, b, "none", [], "")
    return out


def _linear(x: Tensor, W: Tensor, b: Tensor | None = None) -> Tensor:
    if not _fits(x, W, b):
        return nn.functional.linear(x, W, b)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, W, b)):
        result: Tensor = _Linear.apply(x, W, b)  # type: ignore[no-untyped-call]
        return result
    return _product(x, W, b)


def _fits(x: Tensor, W: Tensor, b: Tensor | None) -> bool:
    """Whether these are what oneDNN multiplies, and enough of it."""
    given = (x, W) if b is None else (x, W, b)
    return (
        all(type(t) in (Tensor, nn.Parameter) and t.dtype is torch.float32 and t.device.type == "cpu" for t in given)
        and all(t.layout is torch.strided for t in given)
        and x.ndim > 1
        and W.ndim == 2
        and x.shape[-1] == W.shape[1]
        and (b is None or b.shape == W.shape[:1])
        and x.numel() * len(W) >= _LEAST
        and not torch.is_autocast_enabled("cpu")
    )


class _Linear(torch.autograd.Function):
    """`_product` with its gradients, which are products as well (and so can be differentiated again)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, W)
        return _product(x, W, b)

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (g,), (x, W) = above, ctx.saved_tensors
        rows, read = g.flatten(0, -2), x.flatten(0, -2)
        by_x, by_W, by_b = ctx.needs_input_grad
        gradient = None
        if by_W:  # as it lies in memory, or adding it up would copy it
            gradient = _linear(read.T, rows.T).T if W.T.is_contiguous() else _linear(rows.T, read.T)
        return _linear(g, W.T) if by_x else None, gradient, rows.sum(0) if by_b else None


def _matmul(x: Tensor, y: Tensor) -> Tensor:
    return _linear(x, y.T) if y.ndim == 2 and _fits(x, y.T, None) else torch.matmul(x, y)


def _mm(x: Tensor, y: Tensor) -> Tensor:
    return _linear(x, y.T) if _fits(x, y.T, None) else torch.mm(x, y)


def _addmm(b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return _linear(x, y.T, b) if b.ndim == 1 and _fits(x, y.T, b) else torch.addmm(b, x, y)


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *rest: Any, **options: Any
) -> Tensor:
    learns = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value))
    if not learns or query.device.type != "cpu" or query.dtype is not torch.bfloat16:
        return nn.functional.scaled_dot_product_attention(query, key, value, attn_mask, *rest, **options)
    if attn_mask is not None and attn_mask.is_floating_point():
        attn_mask = attn_mask.float()
    wide = (query.float(), key.float(), value.float())
    return nn.functional.scaled_dot_product_attention(*wide, attn_mask, *rest, **options).to(query.dtype)


_Table = dict[Callable[..., Any], Callable[..., Tensor]]
_PRODUCTS: _Table = {
    nn.functional.linear: _linear,
    torch.matmul: _matmul,
    Tensor.matmul: _matmul,
    Tensor.__matmul__: _matmul,
    torch.mm: _mm,
    Tensor.mm: _mm,
    torch.addmm: _addmm,
}
_ATTENTION: _Table = {nn.functional.scaled_dot_product_attention: _attention}


class _Ways(TorchFunctionMode):
    """Has some functions done in other ways. Calls with rare arguments (`out`, `beta`) stay with PyTorch."""

    def __init__(self, ways: _Table) -> None:
        self._ways = ways

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        way = self._ways.get(func)
        if way is _linear:
            named = {_SHORT.get(name, name): value for name, value in named.items()}
        if way is None or (named and way in (_matmul, _mm, _addmm)):
            return func(*args, **(kwargs or {}))
        return way(*args, **named)


_SHORT = {"input": "x", "weight": "W", "bias": "b"}
