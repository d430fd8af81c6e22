"""The closed-form probe against scikit-free references, and validator states against one prompt at a time."""

import pytest
import torch

from accord.errors import AccordError
from accord.gap import Forms, Probe, validator_states
from accord.lm import Backbone
from accord.tasks import task
from tests.tiny import tiny_model, tiny_tokenizer


def _loss(x: torch.Tensor, y: torch.Tensor, quiet: torch.Tensor, w: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """The docstring's formula, in its words."""
    mean, deviation = x.mean(0), x.std(0, correction=0)

    def guess(states: torch.Tensor) -> torch.Tensor:
        return ((states - mean) / deviation) @ w + c

    return ((guess(x) - y) ** 2).mean() + 0.7 * (guess(quiet) ** 2).mean() + 0.2 * (w**2).sum()


def test_the_fit_is_the_minimum_of_its_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    x, quiet = (torch.randn(n, 6, generator=generator, dtype=torch.float64) * 3 + 1 for n in (40, 25))
    y = x @ torch.arange(6, dtype=torch.float64) + torch.randn(40, generator=generator, dtype=torch.float64)
    probe = Probe.fit(x, y, penalty=0.2, quiet=quiet, quiet_weight=0.7)
    w = (probe.weight.double() * x.std(0, correction=0)).requires_grad_()
    c = (probe.bias + x.mean(0) @ probe.weight.double()).detach().requires_grad_()
    loss = _loss(x, y, quiet, w, c)
    gradients = torch.autograd.grad(loss, [w, c])
    assert max(float(g.abs().max()) for g in gradients) < 1e-4 * loss.item()
    torch.testing.assert_close(
        probe(x).double(), (((x - x.mean(0)) / x.std(0, correction=0)) @ w + c).detach(), rtol=1e-4, atol=1e-3
    )


def test_quiet_states_are_left_alone_when_their_weight_is_large() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(50, 8, generator=generator)
    quiet = torch.randn(30, 8, generator=generator)
    y = 5 * x[:, 0] + 3
    free = Probe.fit(x, y, penalty=1e-3)
    bound = Probe.fit(x, y, penalty=1e-3, quiet=quiet, quiet_weight=100.0)
    assert bound(quiet).abs().mean() < 0.2 * free(quiet).abs().mean()


def test_a_probe_needs_states() -> None:
    with pytest.raises(AccordError, match="as many states"):
        Probe.fit(torch.zeros(0, 3), torch.zeros(0), penalty=1.0)


def test_validator_states_are_those_of_each_prompt_alone() -> None:
    lm = Backbone(tiny_model("qwen2"), tiny_tokenizer())
    asked = task("hypernymy", limit=6, validator_shots="zero")
    found = validator_states(lm, asked, [0, 2, 3])
    forms = Forms.of(lm)
    for i, item in enumerate(asked.items):
        context = forms.queries(lm, asked, item)[1].context
        with torch.no_grad():
            alone = lm.hidden(torch.tensor([context]), layers=[0, 2, 3])
        for layer, states in alone.items():
            torch.testing.assert_close(found[layer][i], states[0, -1], rtol=1e-4, atol=1e-4)
