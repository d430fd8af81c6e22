"""What only an NVIDIA GPU runs: kernels, updates in one pass and recorded steps, each beside the plain way."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from accord.concepts import Step, Training, build, fit, kernels, read_config
from accord.concepts.adam import Adam
from accord.concepts.replay import Replay
from accord.concepts.sparse import Pattern, sddmm, spmm, spmm_t
from tests.gpu.test_concepts import TABLES, rows_for


@pytest.fixture(autouse=True)
def _on_a_gpu(device: torch.device) -> None:
    if device.type != "cuda":
        pytest.skip("of kernels (make test-gpu, where there is a GPU); test_interpreted.py tries them without one")


def plainly() -> Any:
    """Inside, nothing is done by kernels."""
    return patch.object(kernels, "use", lambda *_: False)


@pytest.mark.parametrize(("n", "K", "d", "k"), [(64, 500, 70, 7), (128, 4096, 576, 32), (16, 300, 2049, 5)])
def test_sparse_products(n: int, K: int, d: int, k: int, device: torch.device) -> None:
    pattern = Pattern.of_rows(torch.stack([torch.randperm(K)[:k] for _ in range(n)]).to(device), K)
    values, W, X = (torch.randn(size, device=device) for size in ((n * k,), (K, d), (n, d)))

    def products() -> list[Tensor]:
        return [spmm(values, pattern, W), spmm_t(values, pattern, X), sddmm(X, W, pattern)]

    assert kernels.use(values, W, X)
    got, again = products(), products()
    with plainly():
        wanted = products()
    for one, same, other in zip(got, again, wanted, strict=True):
        assert torch.equal(one, same)
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("clip", [0.5, float("inf")])
def test_an_update_in_one_pass(clip: float, device: torch.device) -> None:
    shapes, both = ((90, 70), (90, 70), (1500,), (), (3, 4, 5)), []
    for in_one in (True, False):
        torch.manual_seed(0)
        weights = [Parameter(torch.randn(shape, device=device)) for shape in shapes]
        with torch.no_grad():
            weights[1].div_(weights[1].norm(dim=1, keepdim=True))
        adam = Adam(weights, [weights[1]], weight_decay=0.1, clip=clip)
        assert adam.in_one
        adam.in_one = in_one
        norms = []
        for step in range(4):
            for weight in weights:
                weight.grad = torch.randn_like(weight)
            if step == 2:
                weights[4].grad = None
            adam.set_lr(0.01 * (step + 1))
            norms.append(adam.clip())
            adam.move()
        both.append([*norms, *(weight.detach() for weight in weights)])
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", TABLES)
def test_recorded_steps(kind: str, device: torch.device) -> None:
    """A training whose steps are recorded ends as one whose steps are asked for one by one."""

    def batches(start: int) -> Iterator[Any]:
        while True:
            x = torch.randn(64, 12, generator=torch.Generator().manual_seed(start)).to(device)
            yield rows_for(kind, 3 + x)
            start += 1

    ends, recorded = [], []
    for records in (True, False):
        table = {"kind": kind, **TABLES[kind]} | ({"warmup": 0.1} if kind not in ("topk", "batchtopk") else {})
        if kind in ("bernoulli", "matryoshka"):
            del table["warmup"]
        model = build(read_config(table), 12, seed=3)
        model.fit_scale([next(batches(99))])
        training = Training(steps=40, lr=1e-3, log_every=5, reseed_every=15, checkpoint_every=100)
        record = Replay._record

        def noted(self: Replay, *given: Any, record: Any = record) -> None:
            record(self, *given)
            recorded.append(self._graph is not None)

        with patch.object(Replay, "_record", noted if records else lambda *_: None):
            rows = fit(model.to(device), batches, training).rows
        ends.append((rows, model.state_dict()))
    assert any(recorded)
    (rows, here), (others, there) = ends
    for name, weight in here.items():
        torch.testing.assert_close(weight, there[name], rtol=1e-4, atol=1e-5)
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in others], rel=1e-4)


@pytest.mark.parametrize("index", [2, 5, 9])
@pytest.mark.parametrize("similarity", ["cosine", "inner"])
def test_concepts_of_an_lcblm_in_one(index: int, similarity: str, device: torch.device) -> None:
    table = {"kind": "lcblm", "concepts": 9, "width": 5, "forming": 0.3, "warmup": 0.3, "noise": 0, "encoder": "gelu"}
    model = build(read_config({**table, "similarity": similarity}), 12, seed=3).to(device)
    x, seen = torch.randn(33, 12, device=device), []
    for in_one in (True, False):
        model.zero_grad()
        step = Step(index, 10, torch.Generator(device).manual_seed(0))
        with patch.object(kernels, "use", lambda *_, in_one=in_one: in_one):
            terms = model.loss(x, step)
            torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        seen.append([*terms.values(), *(weight.grad for weight in model.parameters())])
    for one, other in zip(*seen, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_noise_of_an_lcblm_in_one(device: torch.device) -> None:
    """Standard normal, other at every seed, and the same on the way back."""
    e, c, h = (
        torch.zeros(400, 16, 8, device=device),
        torch.ones(400, 16, device=device),
        torch.zeros(16, 8, device=device),
    )
    drawn = [
        kernels.gated(e, c, h, seed=torch.tensor([seed], device=device), free=1.0, noise=2.0).flatten()
        for seed in (1, 2)
    ]
    assert not torch.equal(*drawn)
    assert abs(float(drawn[0].mean())) < 0.04 and float(drawn[0].std()) == pytest.approx(2.0, rel=0.02)
    assert abs(float(torch.corrcoef(torch.stack(drawn))[0, 1])) < 0.02
    c.requires_grad_()
    z = kernels.gated(e, c, h, seed=torch.tensor([1], device=device), free=1.0, noise=2.0)
    z.sum().backward()  # type: ignore[no-untyped-call]
    assert c.grad is not None
    torch.testing.assert_close(c.grad, drawn[0].reshape(e.shape).sum(-1))
