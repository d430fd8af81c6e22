"""What is read of items that no fit and no choice has seen."""

import numpy as np
import pytest
import torch

from accord.errors import AccordError
from accord.forecasting import read_held_out
from accord.gap.ridge import PENALTIES, Ridge, folds


def _states(n: int, d: int = 12, seed: int = 0) -> dict[int, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {layer: torch.randn(n, d, generator=draw) for layer in (0, 3)}


@pytest.mark.parametrize("n", [40, 14], ids=["narrow", "wide"])
def test_it_is_nested_cross_validation_written_out(n: int) -> None:
    states = _states(n)
    target = (states[3][:, 0] + 0.3 * torch.randn(n, generator=torch.Generator().manual_seed(5))).double()
    groups = [f"group {i % 7}" for i in range(n)]
    fold, held = folds(groups, 2), read_held_out(states, target.numpy(), groups, seed=2)
    for part in range(4):
        lost: dict[int, float] = {}
        for layer, own in states.items():
            errors = np.zeros(len(PENALTIES))
            for other in {0, 1, 2, 3} - {part}:
                learns = torch.from_numpy((fold != part) & (fold != other))
                judged = torch.from_numpy(fold == other)
                for k, penalty in enumerate(PENALTIES):
                    probe = Ridge(own[learns], target[learns]).fit(penalty)
                    errors[k] += float(((probe(own[judged]) - target[judged]) ** 2).sum())
            lost[layer] = errors.min()
            out = torch.from_numpy(fold == part)
            probe = Ridge(own[~out], target[~out]).fit(PENALTIES[int(errors.argmin())])
            assert held.by_layer[layer][out.numpy()] == pytest.approx(probe(own[out]).numpy(), abs=1e-8)
        best = min(lost, key=lost.__getitem__)
        assert (held.layer[fold == part] == best).all()
        assert (held.best == np.where(held.layer == 0, held.by_layer[0], held.by_layer[3])).all()


def test_what_is_of_a_group_alone_is_not_read() -> None:
    draw = np.random.default_rng(0)
    group = np.repeat(np.arange(20), 6)
    states = {0: torch.tensor(draw.normal(size=(20, 40))[group] + 0.05 * draw.normal(size=(120, 40))).float()}
    target = draw.normal(size=20)[group]
    by_groups, by_items = (
        np.corrcoef(read_held_out(states, target, groups).best, target)[0, 1]
        for groups in ([f"{g}" for g in group], [None] * 120)
    )
    assert by_items > 0.9 and by_groups < 0.3


def test_it_takes_eight_items() -> None:
    with pytest.raises(AccordError, match=r"too few items[\s\S]*7"):
        read_held_out(_states(7), np.zeros(7), [None] * 7)
    assert len(read_held_out(_states(8), np.arange(8.0), [None] * 8).best) == 8
