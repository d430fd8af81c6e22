"""The loop that trains against a plain one: rate, clipping and decay of every update, dropout, curve, checkpoints."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import tiny_model, tiny_tokenizer
from torch import Tensor

from accord.concepts.train import learning_rate, mix
from accord.errors import AccordError
from accord.lm import Backbone
from accord.lm.model import LanguageModel
from accord.repair import loop
from accord.repair.config import RankAlign
from accord.repair.lora import trainable
from accord.repair.method import PairBatch
from accord.repair.scores import Pair, Scored, Terms, scores

FULL: dict[str, Any] = {"full": True, "steps": 5, "lr": 0.01, "warmup": 0.4, "decay": 0.4}


class Fixed:
    """Other pairs at each step, a loss of two terms; it counts its batches in its memory."""

    def __init__(self) -> None:
        self.memory: dict[str, Any] = {}
        self.steps: list[int] = []

    def pairs(self, step: int) -> list[Scored]:
        return [Pair((5, 6, 7 + step), (8, 9)), Pair((5, 6, 17 + step), (8,)), Pair((4, 3 + step), (30, 31))]

    def loss(self, values: Tensor) -> Terms:
        return {"far": values.square().mean() * 3, "low": -values.sum()}

    def batch(self, lm: LanguageModel, step: int) -> PairBatch:
        self.memory = {"batches": self.memory.get("batches", 0) + 1}
        self.steps.append(step)
        return PairBatch(self.pairs(step), self.loss, {"pairs": 3})


def fitted(
    config: RankAlign, folder: Path, seed: int = 0, progress: Any = None
) -> tuple[list[loop.Row], dict[str, Tensor]]:
    lm = Backbone(tiny_model(), tiny_tokenizer())
    with trainable(lm, config, seed) as trainee:
        before = torch.get_rng_state()
        rows = loop.fit(trainee, Fixed(), config, seed=seed, folder=folder, settings={"a": 1}, progress=progress)
        assert torch.equal(torch.get_rng_state(), before)  # nobody else's draws move
        return rows, {name: weight.detach().clone() for name, weight in trainee.weights.items()}


@pytest.mark.parametrize(
    "keys", [{"clip": 1.0}, {"clip": None}, {"clip": 2.0, "weight_decay": 0.5}, {"clip": None, "micro_batch": 2}]
)
def test_every_update_is_that_of_a_plain_loop(keys: dict[str, Any], tmp_path: Path) -> None:
    config = RankAlign.model_validate({**FULL, **keys})
    rows, weights = fitted(config, tmp_path)
    model, method = tiny_model(), Fixed()
    lm = Backbone(model, tiny_tokenizer())
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    adam = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=config.weight_decay)
    for step, row in enumerate(rows):
        adam.param_groups[0]["lr"] = learning_rate(step, config)
        adam.zero_grad()
        terms = method.loss(scores(lm, method.pairs(step)))
        sum(terms.values()).backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt().item()
        for g in gradients:
            g.mul_(min(1.0, (config.clip or float("inf")) / (norm + 1e-6)))
        adam.step()
        assert row["far"] == pytest.approx(terms["far"].item(), rel=1e-3)
        assert row["loss"] == pytest.approx(terms["far"].item() + terms["low"].item(), rel=1e-3)
        assert row["grad_norm"] == pytest.approx(norm, rel=1e-2)
        assert (row["step"], row["pairs"], row["lr"]) == (step + 1, 3, learning_rate(step, config))
    for name, parameter in model.named_parameters():
        moved = (weights[name] - parameter).abs().max().item()
        assert moved < 2e-3, name  # of updates of .01 each: Adam makes much of a gradient near 0


def test_a_gradient_that_is_not_finite_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fixed, "loss", lambda _, values: {"flat": (values - values.detach()).sum().sqrt()})
    with pytest.raises(AccordError, match=r"step 0\b(.|\n)*gradient norm = (nan|inf)"):
        fitted(RankAlign.model_validate(FULL), tmp_path)


def test_dropout_is_drawn_anew_by_seed_and_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    passed_on = loop.backward

    def noted(*words: Any, seed: int, **keys: Any) -> Terms:
        drawn.append(seed)
        return passed_on(*words, seed=seed, **keys)

    monkeypatch.setattr(loop, "backward", noted)
    config = RankAlign(steps=3, lr=0.01, dropout=0.5)
    first, again = fitted(config, tmp_path / "1", seed=4)[0], fitted(config, tmp_path / "2", seed=4)[0]
    assert drawn == [mix(4, step) for step in range(3)] * 2
    assert [row["loss"] for row in first] == [row["loss"] for row in again]
    calm = fitted(RankAlign(steps=3, lr=0.01, dropout=0), tmp_path / "3", seed=4)[0]
    assert calm[2]["loss"] != first[2]["loss"]


def test_a_run_that_keeps_nothing_inside_its_blocks_is_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    passed_on = loop.checkpointed
    monkeypatch.setattr(loop, "checkpointed", lambda blocks: asked.append(len(blocks)) or passed_on(blocks))
    runs = []
    for again in (False, True):
        config = RankAlign(steps=3, lr=0.01, dropout=0.5, checkpointing=again)
        runs.append(fitted(config, tmp_path / str(again))[0])
        assert asked == [3] * 3 * again  # blocks, of each update
    for plain, checkpointed in zip(*runs, strict=True):
        assert checkpointed["loss"] == pytest.approx(plain["loss"], rel=1e-5)


def test_a_run_goes_on_with_its_memory_its_rows_and_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = RankAlign(**{**FULL, "steps": 6, "checkpoint_every": 2})
    lm = Backbone(tiny_model(), tiny_tokenizer())
    straight = fitted(config, tmp_path / "straight")[0]
    told: list[tuple[int, int]] = []

    class Killed(BaseException):
        pass

    def stop(done: int, total: int) -> None:
        told.append((done, total))
        if done == 5:
            raise Killed

    now = iter(range(0, 10_000, 10))
    monkeypatch.setattr("accord.repair.loop.time.monotonic", lambda: next(now))
    folder = tmp_path / "killed"
    with trainable(lm, config, 0) as trainee, pytest.raises(Killed):
        loop.fit(trainee, Fixed(), config, seed=0, folder=folder, settings={"a": 1}, progress=stop)
    assert told == [(step, 6) for step in range(1, 6)]
    assert [path.name for path in (folder / "checkpoints").glob("step-????????")] == ["step-00000004"]
    method = Fixed()
    with trainable(lm, config, 0) as trainee:
        rows = loop.fit(trainee, method, config, seed=0, folder=folder, settings={"a": 1})
    assert method.memory == {"batches": 6} and method.steps == [4, 5]
    assert [row["seconds"] for row in rows] == [10, 20, 30, 40, 50, 60]
    assert [row["loss"] for row in rows] == [row["loss"] for row in straight]
    assert [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()] == rows
    assert [path.name for path in (folder / "checkpoints").glob("step-????????")] == ["step-00000006"]


def test_each_updates_loss_is_told_beside_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers are those of the row, which are brought from the device once an update, watched or not."""
    heard: list[Any] = []

    class Heard:
        def __call__(self, done: int, total: int) -> None:
            heard.append((done, total))

        def tell(self, words: str) -> None:
            heard.append(words)

    brought = [0]
    tolist = torch.Tensor.tolist

    def counted(tensor: torch.Tensor) -> Any:
        brought[0] += 1
        return tolist(tensor)

    counts = []
    for watched, progress in enumerate((None, Heard())):
        brought[0] = 0
        with monkeypatch.context() as patched:
            patched.setattr(torch.Tensor, "tolist", counted)
            rows, _ = fitted(RankAlign(steps=3, lr=0.01), tmp_path / str(watched), progress=progress)
        counts.append(brought[0])
    assert counts[0] == counts[1] > 0
    assert heard == [each for i, row in enumerate(rows, 1) for each in (f"loss {row['loss']:.4g}", (i, 3))]
