"""Known atoms: the data, the pairing, and that concept models find them."""

import math
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score

from accord.concepts import (
    Set,
    Superposition,
    Training,
    build,
    class_purity,
    concept_directions,
    fit,
    intervention_consistency,
    match,
    mutual_information_gap,
    read_config,
)
from accord.errors import AccordError


def test_samples_are_sums_of_atoms() -> None:
    truth = Superposition.random(16, 20, active=3, noise=0.0, seed=3)
    x, c = truth.sample(50, seed=1)
    assert ((c != 0).sum(1) == 3).all()
    assert c[c != 0].min() >= 0.5
    assert c.max() <= 1.5
    torch.testing.assert_close(x, c @ truth.atoms)
    torch.testing.assert_close(truth.atoms.norm(dim=1), torch.ones(20))


def test_atoms_that_are_active_by_themselves() -> None:
    truth = Superposition.random(8, 10, rate=0.1, noise=0.0, seed=3)
    x, c = truth.sample(20_000, seed=1)
    on = c != 0
    assert on.double().mean(0).tolist() == pytest.approx([0.1] * 10, abs=0.01)
    both = (on[:, :5] & on[:, 5:]).double().mean().item()
    assert both == pytest.approx(0.01, abs=0.002)
    assert on.sum(1).double().var().item() == pytest.approx(10 * 0.1 * 0.9, rel=0.05)
    assert (c[on].min().item(), c[on].max().item()) == pytest.approx((0.5, 1.5), abs=0.01)
    torch.testing.assert_close(x, c @ truth.atoms)
    together = Superposition.random(8, 10, rate=0.1, correlation=0.8).sample(20_000, 1)[1] != 0
    assert together.double().mean().item() == pytest.approx(0.1, abs=0.01)
    assert (together[:, ::2] & together[:, 1::2]).double().mean().item() > 0.03


def test_correlated_atoms_appear_in_pairs() -> None:
    def together(correlation: float) -> float:
        on = Superposition.random(8, 20, correlation=correlation).sample(4000, 0)[1] != 0
        return float((on[:, ::2] & on[:, 1::2]).double().mean())

    assert together(0.8) > 3 * together(0.0)


def test_batches_are_fixed_by_their_step() -> None:
    truth = Superposition.random(8, 10)
    later = list(islice(truth.batches(4, seed=2)(3), 2))
    both = list(islice(truth.batches(4, seed=2)(0), 5))
    assert torch.equal(later[0], both[3])
    assert torch.equal(later[1], both[4])
    assert not torch.equal(both[0], both[1])


def test_impossible_superpositions() -> None:
    with pytest.raises(AccordError, match="no such superposition"):
        Superposition.random(4, 5, active=6)
    with pytest.raises(AccordError, match="no such superposition"):
        Superposition.random(4, 5, correlation=0.5)
    with pytest.raises(AccordError, match="rate 1"):
        Superposition.random(4, 5, rate=1.0)


def test_match_pairs_whatever_the_order_and_size() -> None:
    atoms = torch.nn.functional.normalize(torch.randn(6, 9, generator=torch.Generator().manual_seed(0)), dim=1)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    pairs = match(7.0 * atoms[order], atoms)
    assert pairs.fraction == 1
    assert pairs.mean_cosine == pytest.approx(1)
    assert torch.equal(order[pairs.concepts], torch.arange(6))
    fewer = match(atoms[:4], atoms)
    assert fewer.fraction == pytest.approx(4 / 6)
    assert fewer.concepts.tolist() == [0, 1, 2, 3, -1, -1]
    assert match(-atoms, atoms).fraction == 0  # writing the opposite is not finding it
    assert match(torch.zeros(6, 9), atoms).mean_cosine == 0


def test_the_gap_of_information_equals_that_of_scikit_learn() -> None:
    g = torch.Generator().manual_seed(0)
    factors = torch.rand(500, 4, generator=g) < torch.tensor([0.5, 0.2, 0.05, 0.0])
    strength = torch.rand(500, 6, generator=g) + factors[:, [0, 1, 1, 2, 2, 3]] * torch.tensor([2, 1, 0.5, 3, 3, 1.0])
    strength[:, 5] = 0.25
    got = mutual_information_gap(strength, factors, bins=7)
    for a in range(3):
        told = []
        for k in range(6):
            edges = np.histogram(strength[:, k].numpy(), 7)[1]
            told.append(mutual_info_score(np.digitize(strength[:, k].numpy(), edges[1:-1]), factors[:, a].numpy()))
        first, second = sorted(told, reverse=True)[:2]
        p = factors[:, a].double().mean().item()
        want = (first - second) / (-p * math.log(p) - (1 - p) * math.log(1 - p))
        assert got[a].item() == pytest.approx(want, abs=1e-6)
    assert got[3].isnan()
    exact = factors[:, :3].float()
    assert mutual_information_gap(exact, factors[:, :3]).min() > 0.9
    assert mutual_information_gap(exact[:, [0, 0, 1, 1, 2, 2]], factors[:, :3]).tolist() == pytest.approx([0] * 3)


def test_purity_of_the_strongest_rows() -> None:
    g = torch.Generator().manual_seed(0)
    classes = torch.randint(0, 5, (40,), generator=g)
    strength = (torch.rand(40, 3, generator=g) - 0.3).relu()
    strength[:, 2] = 0
    strength[3, 2] = 1.0
    got = class_purity(strength, classes, top=8)
    for k in range(2):
        rows = sorted(range(40), key=lambda i: -strength[i, k].item())[:8]
        counts = Counter(int(classes[i]) for i in rows if strength[i, k] > 0)
        n = sum(counts.values())
        H = -sum(c / n * math.log(c / n) for c in counts.values())
        assert got[k].item() == pytest.approx(1 - H / math.log(min(5, n)))
    assert got[2].isnan()
    own = torch.nn.functional.one_hot(classes, 5).float()
    assert class_purity(own, classes).tolist() == pytest.approx([1.0] * 5)


def test_directions_and_consistency_of_an_lcblm() -> None:
    model = build(read_config({"kind": "lcblm", "concepts": 4, "width": 3}), 6, seed=1)
    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(2))
    encoded = model.encode(x)
    got, lengths = concept_directions(model, x), intervention_consistency(model, x)
    for k in range(4):
        effects = []
        for i in range(200):
            if encoded.strength[i, k] > 0.5:
                row = model.encode(x[i : i + 1])
                effects.append((model.decode(row) - model.decode(model.edit(row, {k: Set(0.0)})))[0].detach())
        stacked = torch.stack(effects)
        torch.testing.assert_close(got[k], stacked.mean(0), atol=1e-5, rtol=1e-4)
        units = stacked / stacked.norm(dim=1, keepdim=True)
        assert lengths[k].item() == pytest.approx(units.mean(0).norm().item(), rel=1e-4)
        assert lengths[k] < 1


def test_consistency_is_trivial_for_fixed_directions() -> None:
    model = build(read_config({"kind": "topk", "size": 10, "k": 2}), 6, seed=1)
    lengths = intervention_consistency(model, torch.randn(100, 6, generator=torch.Generator().manual_seed(2)))
    alive = lengths[~lengths.isnan()]
    torch.testing.assert_close(alive, torch.ones_like(alive), atol=1e-5, rtol=0)


def test_topk_finds_the_atoms() -> None:
    truth = Superposition.random(16, 24, active=2, seed=0)
    model = build(read_config({"kind": "topk", "size": 24, "k": 2}), 16)
    model.fit_scale(islice(truth.batches(256, seed=9)(0), 4))
    fit(model, truth.batches(256), Training(steps=800, lr=5e-3))
    assert match(model.directions(), truth.atoms).fraction >= 0.9
