"""The kind that learns from pairs: what it reads, and what it reconstructs."""

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from accord.concepts import (
    Scale,
    Set,
    Step,
    Superposition,
    Training,
    build,
    evaluate,
    fit,
    load,
    match,
    read_config,
    save,
)
from accord.concepts.transcoder import Transcoder
from accord.errors import AccordError
from accord.heads import Reader

D, K = 5, 8
TRUTH = Superposition.random(16, 24, active=2, seed=0)
OTHER = F.normalize(torch.randn(24, 16, generator=torch.Generator().manual_seed(5)), dim=1)


def pairs(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = 3 + torch.randn(n, D, generator=g) * torch.tensor([0.1, 1.0, 2.0, 5.0, 1.0])
    return x, 7 - x.abs() + 0.1 * torch.randn(n, D, generator=g)


def made(**over: object) -> Transcoder:
    """With weights that are nowhere special."""
    table = {"kind": "transcoder", "size": K, "sparsity": 0.3}
    model = build(read_config(table | over), D, seed=3)
    assert isinstance(model, Transcoder)
    model.fit_scale([pairs(150, 9), pairs(50, 10)])
    g = torch.Generator().manual_seed(4)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=g)
    return model


def step(index: int = 5, total: int = 100) -> Step:
    return Step(index, total, torch.Generator().manual_seed(7))


def test_its_loss() -> None:
    model, (x, y) = made(), pairs(6)
    every = torch.cat([pairs(150, 9)[1], pairs(50, 10)[1]]).double()
    torch.testing.assert_close(model.mean_out.double(), every.mean(0), rtol=1e-5, atol=0)
    torch.testing.assert_close(model.scale_out.double(), every.std(0, correction=0), rtol=1e-5, atol=0)
    xs, ys = ((x - model.mean) / model.scale).tolist(), ((y - model.mean_out) / model.scale_out).tolist()
    W_enc, b_enc, W_dec, b_dec = (w.tolist() for w in (model.W_enc, model.b_enc, model.W_dec, model.b_dec))
    error = price = 0.0
    strengths, outs = [], []
    for row, target in zip(xs, ys, strict=True):
        z = [max(sum(w * v for w, v in zip(W_enc[k], row, strict=True)) + b_enc[k], 0.0) for k in range(K)]
        out = [sum(z[k] * W_dec[k][j] for k in range(K)) + b_dec[j] for j in range(D)]
        error += sum((a - b) ** 2 for a, b in zip(out, target, strict=True)) / (6 * D)
        price += sum(z[k] * math.sqrt(sum(w * w for w in W_dec[k])) for k in range(K)) / (6 * D)
        strengths.append(z)
        outs.append(out)
    terms = model.loss((x, y), step())
    assert terms["mse"].item() == pytest.approx(error, rel=1e-5)
    assert terms["sparsity"].item() == pytest.approx(0.3 * 0.5 * price, rel=1e-5)  # half of the warm-up is over
    encoded = model.encode(x)
    torch.testing.assert_close(encoded.strength, torch.tensor(strengths), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.decode(encoded), torch.tensor(outs) * model.scale_out + model.mean_out)
    sum(terms.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    (got, out), n = model.receive((x, y))
    assert torch.equal(got, x) and torch.equal(out, y) and n == 6
    some = model.rows_of((x, y), slice(1, 3))
    assert torch.equal(some[0], x[1:3]) and torch.equal(some[1], y[1:3])


def test_edits_write_its_directions() -> None:
    model, (x, _) = made(), pairs(6)
    encoded = model.encode(x)
    for k in range(K):
        written = model.decode(model.edit(encoded, {k: Set(2.0)})) - model.decode(model.edit(encoded, {k: Set(0.0)}))
        torch.testing.assert_close(written, 2 * model.directions()[k].expand(6, -1), atol=1e-5, rtol=1e-4)
    assert torch.equal(model.edit(encoded, {0: Scale(0.0)}).strength[:, 0], torch.zeros(6))


def test_it_is_judged_on_what_it_reconstructs() -> None:
    model, rows = made(), [pairs(30, 1), pairs(7, 2)]
    x, y = (torch.cat(end).double() for end in zip(*rows, strict=True))
    left = (y - model(x.float())).square().sum() / (y - y.mean(0)).square().sum()
    quality = evaluate(model, rows)
    assert quality.fvu == quality.fvu_hard == pytest.approx(left.item(), rel=1e-4)
    assert quality.l0 == pytest.approx((model.encode(x.float()).strength > 0).sum(1).double().mean().item())
    assert model.judge(rows)["fvu"] == quality.fvu


@pytest.mark.parametrize("wrong", ["single", "narrow", "uneven", "three"])
def test_rows_that_are_no_pair(wrong: str) -> None:
    x, y = pairs(6)
    given: Any = {"single": x, "narrow": (x, x[:, :4]), "uneven": (x, y[:5]), "three": (x, y, y)}[wrong]
    model = made()
    for use in (lambda: evaluate(model, [given]), lambda: model.fit_scale([given]), lambda: model.receive(given)):
        with pytest.raises(AccordError, match=r"do not fit the transcoder[\s\S]*\[n, 5\] and \[n, 5\]"):
            use()


def atoms_of_both(start: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The same coefficients of one set of atoms, and of another in fewer dimensions."""
    while True:
        x, c = TRUTH.sample(256, 1000 + start)
        yield x, c @ OTHER
        start += 1


def test_it_finds_what_computes_the_second_from_the_first(tmp_path: Path) -> None:
    def fresh() -> Transcoder:
        model = build(read_config({"kind": "transcoder", "size": 24, "sparsity": 0.5}), 16, seed=1)
        model.fit_scale(islice(atoms_of_both(500), 4))
        assert isinstance(model, Transcoder)
        return model

    training = Training(steps=1200, lr=5e-3, clip=1.0, checkpoint_every=700, log_every=600)
    model = fresh()
    fit(model, atoms_of_both, training, folder=tmp_path)
    x, c = TRUTH.sample(1000, 3)
    found = match(model.directions(), OTHER)
    assert found.fraction >= 0.9
    assert evaluate(model, [(x, c @ OTHER)]).r2 > 0.8
    again = fresh()
    fit(again, atoms_of_both, training, folder=tmp_path)
    assert torch.equal(again(x), model(x))
    save(model, tmp_path / "saved")
    assert torch.equal(load(tmp_path / "saved")(x), model(x))


def test_dead_concepts_are_aimed_at_rows_that_it_misses() -> None:
    model, (x, y), dead, alive = made().eval(), pairs(200), [2, 5], [0, 1, 3, 4, 6, 7]
    with torch.no_grad():
        model.b_enc[dead] = -100.0
    model.idle[dead] = torch.tensor([model.dead_after, 10**9])
    before, xs, kept = model(x), model.standardise(x), {name: w.clone() for name, w in model.named_parameters()}
    left = (y - before).detach() / model.scale_out
    rows = torch.multinomial(left.square().sum(1), 2, generator=step().generator)
    size = model.W_enc[alive].norm(dim=1).mean().detach()
    assert model.reseed((x, y), step()).tolist() == dead
    want = {
        "W_enc": 0.2 * size * F.normalize(xs[rows], dim=1),
        "W_dec": F.normalize(left[rows], dim=1),
        "b_enc": torch.zeros(2),
    }
    assert torch.equal(model.b_dec, kept["b_dec"]) and model.concept_parameters().keys() == want.keys()
    for name, weight in model.concept_parameters().items():
        torch.testing.assert_close(weight[dead].detach(), want[name])
        assert torch.equal(weight[alive], kept[name][alive])
    fires = model.encode(x).strength[:, 2] > 0
    assert 0 < fires.double().mean() < 1
    error = [((y - out) / model.scale_out).square().sum(1) for out in (before, model(x))]
    assert (error[0] > error[1]).any()
    assert model.idle.tolist() == [0] * K


def test_its_concepts_are_idle_until_they_fire_in_training() -> None:
    model, batch = made(), pairs(1)
    model.idle += torch.arange(K)
    model.eval().loss(batch, step())
    assert model.idle.tolist() == list(range(K))
    fired = (model.encode(batch[0]).strength > 0).any(0).tolist()
    assert any(fired) and not all(fired)
    model.train().loss(batch, step())
    assert model.idle.tolist() == [0 if on else k + 1 for k, on in enumerate(fired)]


def test_what_puts_back_what_it_read_refuses_it() -> None:
    with pytest.raises(AccordError, match="what it decodes are not the states that it reads"):
        Reader("reconstruction", made())
