"""Penalty, temperature, top-k and top-p: each and all together against the processors of transformers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from accord.errors import AccordError
from accord.lm.processors import Sampling, candidates, draw, penalize

OFF = dict(temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0)


def theirs(logits: Tensor, seen: Tensor, s: Sampling) -> Tensor:
    """Scores [row, vocab], in the order in which `generate` of transformers applies its processors."""
    chain = LogitsProcessorList()
    if s.repetition_penalty != 1:
        chain.append(RepetitionPenaltyLogitsProcessor(s.repetition_penalty))
    if s.temperature != 1:
        chain.append(TemperatureLogitsWarper(s.temperature))
    if s.top_k:
        chain.append(TopKLogitsWarper(s.top_k))
    if s.top_p < 1:
        chain.append(TopPLogitsWarper(s.top_p))
    return chain(seen, logits.clone())


def ours(logits: Tensor, seen: Tensor, s: Sampling) -> Tensor:
    scores, ids = candidates(penalize(logits, seen, s.repetition_penalty) / s.temperature, s)
    return torch.full_like(logits, -torch.inf).scatter(-1, ids, scores)


def example(seed: int, rows: int = 4, vocab: int = 60, ties: bool = False) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, vocab, generator=generator) * 4
    return logits.round() if ties else logits, torch.randint(0, vocab, (rows, 9), generator=generator)


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0.3},
        {"top_k": 1},
        {"top_k": 7},
        {"top_k": 500},
        {"top_p": 0.01},
        {"top_p": 0.5},
        {"repetition_penalty": 1.5},
        {"repetition_penalty": 0.7},
        {"temperature": 0.7, "top_k": 30, "top_p": 0.9, "repetition_penalty": 1.5},
    ],
)
def test_same_scores_as_transformers(changes: dict[str, float]) -> None:
    s = Sampling(**{**OFF, **changes})  # type: ignore[arg-type]
    for seed in range(20):
        logits, seen = example(seed)
        torch.testing.assert_close(ours(logits, seen, s), theirs(logits, seen, s), rtol=0, atol=0)


@pytest.mark.parametrize("k", [1, 3, 10, 59])
def test_ties_of_the_last_of_top_k_are_kept(k: int) -> None:
    s = Sampling(**{**OFF, "top_k": k})  # type: ignore[arg-type]
    for seed in range(20):
        logits, seen = example(seed, ties=True)
        torch.testing.assert_close(ours(logits, seen, s), theirs(logits, seen, s), rtol=0, atol=0)


def test_draws_follow_the_distribution() -> None:
    logits, seen = example(3, rows=1, vocab=12)
    s = Sampling(0.9, 6, 0.95, 1.3)
    n = 20_000
    chance = (torch.arange(n) + 0.5) / n  # evenly over [0, 1): the counts are then exact to one
    tokens = draw(logits.expand(n, -1), seen.expand(n, -1), chance.double(), s)
    shares = torch.bincount(tokens, minlength=12) / n
    torch.testing.assert_close(shares, theirs(logits, seen, s).softmax(-1)[0], rtol=0, atol=2e-4)


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 1 - 2**-53]), st.sampled_from([0, 1, 5, 40]))
@settings(max_examples=60, deadline=None)
def test_a_cut_token_is_never_drawn(seed: int, chance: float, top_k: int) -> None:
    logits, seen = example(seed, rows=3, vocab=40, ties=seed % 2 == 0)
    s = Sampling(0.8, top_k, 0.6, 1.2)
    tokens = draw(logits, seen, torch.full((3,), chance, dtype=torch.float64), s)
    assert torch.isfinite(ours(logits, seen, s).gather(-1, tokens[:, None])).all()


def test_temperature_zero_takes_the_best() -> None:
    logits, seen = example(5)
    tokens = draw(logits, seen, torch.zeros(4), Sampling(temperature=0, repetition_penalty=2.0))
    assert tokens.tolist() == penalize(logits, seen, 2.0).argmax(-1).tolist()


@pytest.mark.parametrize(
    "changes", [{"temperature": -1}, {"top_k": -1}, {"top_p": 0}, {"top_p": 1.1}, {"repetition_penalty": 0}]
)
def test_senseless_settings(changes: dict[str, float]) -> None:
    with pytest.raises(AccordError, match=f"{next(iter(changes))} makes no sense"):
        Sampling(**changes)  # type: ignore[arg-type]
