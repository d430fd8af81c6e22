"""Ridge regression against its formula and a plain solution, and validator states against one prompt at a time."""

import pytest
import torch

from accord.errors import AccordError
from accord.gap import Ridge, validator_states
from accord.gap.questions import contexts_of
from accord.gap.ridge import PENALTIES, choose_penalty, folds
from accord.lm import Backbone
from accord.tasks import task
from tests.tiny import tiny_model, tiny_tokenizer


def _loss(x: torch.Tensor, y: torch.Tensor, quiet: torch.Tensor, w: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """The docstring's formula, in its words."""
    mean, deviation = x.mean(0), x.std(0, correction=0)

    def guess(states: torch.Tensor) -> torch.Tensor:
        return ((states - mean) / deviation) @ w + c

    return ((guess(x) - y) ** 2).mean() + 0.7 * (guess(quiet) ** 2).mean() + 0.2 * (w**2).sum()


@pytest.mark.parametrize("d", [6, 90])  # narrower and wider than there are rows
def test_the_fit_is_the_minimum_of_its_formula(d: int) -> None:
    draw = torch.Generator().manual_seed(0)
    x, quiet = (torch.randn(n, d, generator=draw, dtype=torch.float64) * 3 + 1 for n in (40, 25))
    y = 2 * x[:, 0] - x[:, 1] + torch.randn(40, generator=draw, dtype=torch.float64)
    ridge = Ridge(x, y, quiet)
    assert ridge.wide == (d == 90)
    ridge.fit(3.0, 0.1)  # other settings before it leave no trace
    probe = ridge.fit(0.2, 0.7)
    w = (probe.weight * x.std(0, correction=0)).requires_grad_()
    c = (probe.bias + x.mean(0) @ probe.weight).detach().requires_grad_()
    loss = _loss(x, y, quiet, w, c)
    gradients = torch.autograd.grad(loss, [w, c])
    assert max(float(g.abs().max()) for g in gradients) < 1e-7 * loss.item()
    torch.testing.assert_close(probe(x), (((x - x.mean(0)) / x.std(0, correction=0)) @ w + c).detach())


@pytest.mark.parametrize("d", [6, 90])
def test_without_quiet_states(d: int) -> None:
    draw = torch.Generator().manual_seed(2)
    x, y = torch.randn(40, d, generator=draw) * 3 + 1, torch.randn(40, generator=draw) + 4
    z = ((x - x.mean(0)) / x.std(0, correction=0)).double()
    w = torch.linalg.solve(z.T @ z / 40 + 0.5 * torch.eye(d), z.T @ (y - y.mean()).double() / 40)
    torch.testing.assert_close(Ridge(x, y).fit(0.5)(x), z @ w + y.mean(), rtol=1e-4, atol=1e-4)


def test_quiet_states_are_left_alone_when_their_weight_is_large() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(50, 8, generator=generator)
    quiet = torch.randn(30, 8, generator=generator)
    y = 5 * x[:, 0] + 3
    ridge = Ridge(x, y, quiet)
    free, bound = ridge.fit(1e-3), ridge.fit(1e-3, 100.0)
    assert bound(quiet).abs().mean() < 0.2 * free(quiet).abs().mean()


def test_a_regression_needs_states() -> None:
    with pytest.raises(AccordError, match="as many states"):
        Ridge(torch.zeros(0, 3), torch.zeros(0))


def test_validator_states_are_those_of_each_prompt_alone() -> None:
    lm = Backbone(tiny_model("qwen2"), tiny_tokenizer())
    questions = task("hypernymy", limit=6, validator_shots="zero")
    by_layer = validator_states(lm, questions, [0, 2, 3])
    for i, item in enumerate(questions.items):
        context = contexts_of(lm, questions, "validator", [item])[0]
        with torch.no_grad():
            alone = lm.hidden(torch.tensor([context]), layers=[0, 2, 3])
        for layer, states in alone.items():
            torch.testing.assert_close(by_layer[layer][i], states[0, -1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("noise", [0.0, 0.5, 20.0])
def test_the_penalty_is_that_which_errs_least_on_parts_left_out(noise: float) -> None:
    g = torch.Generator().manual_seed(0)
    states = torch.randn(80, 12, generator=g)
    target = 3 + 2 * states[:, 0] - states[:, 5] + noise * torch.randn(80, generator=g)
    for groups in ([None] * 80, [str(i % 7) for i in range(80)]):
        fold, errors = folds(groups, 3), []
        assert set(fold) == {0, 1, 2, 3}
        assert groups[0] is None or len(set(zip(groups, fold.tolist(), strict=True))) == 7  # no group is divided
        for penalty in PENALTIES:
            error = 0.0
            for part in range(4):
                fitted = Ridge(states[fold != part], target[fold != part]).fit(penalty)
                error += float((fitted(states[fold == part]) - target[fold == part].double()).square().sum())
            errors.append(error)
        penalty, share = choose_penalty(states, target, fold)
        assert penalty == PENALTIES[errors.index(min(errors))]
        spread = float((target.double() - target.double().mean()).square().sum())
        assert share == pytest.approx(1 - min(errors) / spread, abs=1e-9)
