"""Of scripts/gpu_check.py: how fast concept models train, beside plain PyTorch and sparsify."""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import torch
from gpu_measured import Check, benchmark
from torch import Tensor

from accord.concepts import Step, Training, build, fit, read_config, train
from accord.concepts.batchtopk import BatchTopK
from accord.concepts.matryoshka import Matryoshka
from accord.concepts.sae import SAE


class Dense(torch.nn.Module):
    """A TopK, BatchTopK or Matryoshka autoencoder as one writes it down."""

    def __init__(self, d: int, size: int, k: int, *, batch: bool, ends: list[int] | None = None) -> None:
        super().__init__()
        self.k, self.batch, self.ends = k, batch, ends or [size]  # of the prefixes that reconstruct alone
        self.W_enc, self.W_dec = (torch.nn.Parameter(torch.randn(size, d) / d**0.5) for _ in range(2))
        self.b_enc, self.b_dec = torch.nn.Parameter(torch.zeros(size)), torch.nn.Parameter(torch.zeros(d))

    def forward(self, x: Tensor) -> Tensor:
        """The loss of rows [n, d]."""
        pre = torch.nn.functional.linear(x - self.b_dec, self.W_enc, self.b_enc).relu()
        whole = pre.flatten() if self.batch else pre
        top = whole.topk(self.k * (len(x) if self.batch else 1), sorted=False)
        z = torch.zeros_like(whole).scatter(-1, top.indices, top.values).reshape(pre.shape)
        whole_and_prefixes = [x - (z[:, :end] @ self.W_dec[:end] + self.b_dec) for end in self.ends]
        return torch.stack([residual.square().mean() for residual in whole_and_prefixes]).sum()


class Own(torch.nn.Module):
    """A kind whose own formulas are dense already: its loss as it is written."""

    def __init__(self, model: Any, steps: int) -> None:
        super().__init__()
        self.model, self.steps = model, steps

    def forward(self, x: Tensor) -> Tensor:
        """The loss of rows [n, d]."""
        total: Tensor = torch.stack(list(self.model.loss(x, Step(self.steps, self.steps)).values())).sum()
        return total


def rows_of(check: Check, d: int) -> list[Tensor]:
    """Batches on the device."""
    return [torch.randn(check.sizes.batch, d, device=check.device) for _ in range(4)]


def train_ours(check: Check, table: dict[str, Any], d: int) -> float:
    """Rows a second of `accord.concepts.fit`, in the last third of a training."""
    rows, steps, marks = rows_of(check, d), check.sizes.steps, []
    model = build(read_config(table), d)
    model.fit_scale([rows[0].cpu()])

    def batches(step: int) -> Iterator[Tensor]:
        while True:
            if step in (2 * steps // 3, steps - 1):
                check.wait()
                marks.append((step, time.perf_counter()))
            yield rows[step % len(rows)]
            step += 1

    fit(model.to(check.device), batches, Training(steps=steps, log_every=steps, checkpoint_every=steps))
    (first, begun), (last, ended) = marks
    return check.sizes.batch * (last - first) / (ended - begun)


def train_plain(check: Check, module: torch.nn.Module, d: int) -> float:
    """Rows a second of dense products in bfloat16, compiled, with fused Adam and clipping."""
    rows, module = rows_of(check, d), module.to(check.device)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-4, fused=True)
    loss_of: Callable[[Tensor], Tensor] = torch.compile(module) if check.compiled else module

    def step(x: Tensor) -> None:
        with torch.autocast(check.device.type, torch.bfloat16):
            loss = loss_of(x)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    for x in rows:
        step(x)
    steps = max(check.sizes.steps // 4, 1)

    def several() -> None:
        for i in range(steps):
            step(rows[i % len(rows)])

    return check.sizes.batch * steps / check.seconds(several)


def train_floor(check: Check, d: int, size: int) -> float:
    """Rows a second of the encoder's product in bfloat16 and the optimiser's pass alone."""
    x, W = rows_of(check, d)[0].bfloat16(), torch.randn(size, d, device=check.device)
    low, weights = W.bfloat16(), [torch.nn.Parameter(W), torch.nn.Parameter(W.clone())]
    optimizer = torch.optim.Adam(weights, fused=True)
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    return check.sizes.batch / check.seconds(lambda: (x @ low.T, optimizer.step()), rounds=5)


def loss_kept(check: Check) -> None:
    """The loss after equal steps with rounded products beside that with products in full, and its spread over seeds."""
    d, steps = check.sizes.width, 5 * check.sizes.steps
    atoms = torch.randn(2 * d, d, device=check.device) / d**0.5
    generator = torch.Generator(check.device).manual_seed(0)

    def batches(step: int) -> Iterator[Tensor]:
        while True:
            shape = check.sizes.batch, len(atoms)
            draws = torch.rand(shape, generator=generator.manual_seed(step), device=check.device)
            yield (draws - 0.98).relu() @ atoms * 50
            step += 1

    def ends(table: dict[str, Any]) -> list[float]:
        losses = []
        for seed in range(3):
            model = build(read_config(table), d, seed=seed)
            model.fit_scale([next(batches(0)).cpu()])
            pace = Training(steps=steps, log_every=steps, checkpoint_every=steps, seed=seed)
            losses.append(fit(model.to(check.device), batches, pace).rows[-1]["loss"])
        return losses

    for table in ({"kind": "topk", "size": 4 * d, "k": min(32, d)}, {"kind": "l1", "size": 4 * d}):
        rounded = ends(table)
        with (
            patch.object(SAE, "rounds", False),
            patch.object(train, "rounded_products", lambda *_, **__: nullcontext()),
        ):
            full = ends(table)
        apart = abs(sum(rounded) - sum(full)) / 3
        check.right.append((f"loss of {table['kind']} after {steps} steps, rounded beside full", apart, spread(full)))


def spread(values: list[float]) -> float:
    """Of the largest and the smallest."""
    return max(values) - min(values)


def topk_speed(check: Check, d: int, size: int, k: int, wanted: float) -> None:
    """TopK beside dense products and sparsify."""
    ours = train_ours(check, {"kind": "topk", "size": size, "k": k}, d)
    plain = train_plain(check, Dense(d, size, k, batch=False), d)
    goal = f"{wanted:,.0f}/s" if wanted else ""
    check.speeds.append((f"topk {d}→{size:,} k {k}", ours, train_floor(check, d, size), plain, goal))
    peers = benchmark("concepts")
    try:
        peer = peers.Sparsify(torch.randn(size, d) / d**0.5, k, check.sizes.steps, check.device)
    except ImportError:
        check.missed.append("sparsify: not installed (pip install eai-sparsify)")
        return
    rows = rows_of(check, d)
    theirs = check.sizes.batch * 4 / check.seconds(lambda: [peer.step(x) for x in rows], rounds=3)
    check.speeds.append(("  beside sparsify", ours, float("nan"), theirs, "2 × sparsify" if wanted == 2.4e5 else ""))


def kind_speed(check: Check, kind: str, table: dict[str, Any], wanted: float) -> None:
    """Another kind beside its plain form."""
    d, whole = check.sizes.width, {"kind": kind, **table}
    ours = train_ours(check, whole, d)
    size = table.get("size", table.get("concepts", 0) * table.get("width", 1))
    model = build(read_config(whole), d)
    module: torch.nn.Module = Own(model, check.sizes.steps)
    if isinstance(model, BatchTopK):
        ends = model.ends.tolist() if isinstance(model, Matryoshka) else None
        module = Dense(d, size, table["k"], batch=True, ends=ends)
    plain = train_plain(check, module, d)
    goal = f"{wanted:,.0f}/s" if wanted else "1.3 × plain"
    check.speeds.append((f"{kind} {d}→{size:,}", ours, train_floor(check, d, size), plain, goal))
