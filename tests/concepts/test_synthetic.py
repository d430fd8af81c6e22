"""Known atoms: the data, the pairing, and that concept models find them."""

from itertools import islice

import pytest
import torch

from accord.concepts import (
    Set,
    Superposition,
    Training,
    build,
    concept_directions,
    fit,
    intervention_consistency,
    match,
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
