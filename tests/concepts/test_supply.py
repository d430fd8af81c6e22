"""Batches that a thread brings ahead of their use, and numbers that are read late."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from accord.concepts import build, read_config
from accord.concepts.sae import dead_concepts
from accord.concepts.step import Step
from accord.concepts.supply import ahead


def counted(until: int, made: list[int], error: int | None = None) -> Iterator[int]:
    for i in range(until):
        if i == error:
            raise ValueError(f"at {i}")
        made.append(i)
        yield i


def test_items_come_in_order_and_never_more_than_a_few_ahead() -> None:
    made: list[int] = []
    for i in ahead(counted(30, made), 2):
        time.sleep(0.002)
        assert made[: i + 1] == list(range(i + 1)) and len(made) <= i + 1 + 2 + 1  # one in its hands


def test_an_error_comes_in_its_turn() -> None:
    items = ahead(counted(9, [], error=3), 2)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="at 3"):
        next(items)


def test_who_stops_early_leaves_no_thread_behind() -> None:
    before, made = threading.active_count(), list[int]()
    items = ahead(counted(10**9, made), 2)
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before and len(made) <= 5


@pytest.mark.parametrize("change", ["add", "replace", "step", "none"])
def test_the_number_of_dead_concepts_is_never_an_old_one(change: str) -> None:
    model = build(read_config({"kind": "topk", "size": 12, "k": 2}), 4, seed=0).train()
    assert model.n_dead(10) == 0
    model.count_idle(torch.arange(12) % 3 == 0, 10, Step(0, 9))
    model.after_step(10)
    if change == "add":
        model.idle[0] += 100
    if change == "replace":
        model.idle = torch.full((12,), 100)
    if change == "step":
        model.count_idle(torch.arange(12) == 0, 10, Step(1, 9))
    plain = (model.idle >= 10).nonzero().squeeze(1)
    assert torch.equal(dead_concepts(model, 10), plain) and model.n_dead(10) == len(plain)
    assert model.n_dead(11) == int((model.idle >= 11).sum())


def test_dead_concepts_are_counted_as_they_die_and_live_again() -> None:
    """By the count of tokens or by asking: the same number after every step, read in each or now and then."""
    generator, model = torch.Generator().manual_seed(0), build(read_config({"kind": "topk", "size": 9, "k": 2}), 4)
    model.train()
    for step in range(200):
        model.count_idle(torch.rand(9, generator=generator) < 0.15, 3, Step(step, 200))
        model.after_step(3)
        if step % 4 < 2 or step > 100:
            assert model.n_dead(20) == int((model.idle >= 20).sum())
