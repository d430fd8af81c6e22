"""Training a repair from start to folder: what it writes, that a kill changes nothing, that other tools open it."""

import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tests.tiny import tiny_model, tiny_tokenizer
from torch import Tensor
from transformers import AutoModelForCausalLM

import accord
from accord import repair
from accord.errors import AccordError
from accord.gap import LabelWords
from accord.repair import loop
from accord.repair.config import RankAlign
from accord.repair.lora import trainable
from accord.repair.method import PairBatch
from accord.repair.scores import Pair
from accord.tasks import Task

SMALL: dict[str, Any] = {"kind": "rankalign", "steps": 4, "batch": 6}
IDS = torch.randint(3, 250, (2, 8), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def plain_logits(model: Any) -> Tensor:
    return model(IDS).logits


@torch.no_grad()
def logits(lm: accord.LanguageModel) -> Tensor:
    return lm.lens(lm.hidden(IDS)[lm.n_layers])


def test_rankalign_makes_the_validator_follow(base: Path, words_task: Task, tmp_path: Path) -> None:
    lm = accord.load(base)
    table = {"kind": "rankalign", "generated": "answer", "steps": 40, "batch": 12, "lr": 0.01, "dropout": 0}
    out = repair.train(lm, words_task, table, folder=tmp_path / "out")
    before, after = (accord.measure_gap(model, words_task, resamples=0).scores for model in (lm, accord.load(out)))
    ranks = [s["validator_logodds"].corr(before["generator_logprob"], method="spearman") for s in (before, after)]
    assert ranks[1] > 0.6 > 0.3 > ranks[0]
    rows = [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 41))
    assert rows[0].keys() == {"step", "loss", "g2v", "pairs_g2v", "delta_g2v", "grad_norm", "lr", "seconds"}
    assert rows[-1]["loss"] < 0.5 < rows[0]["loss"]


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_the_base_stays_and_plain_tools_open_the_result(family: str, words_task: Task, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    tiny_model(family).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    lm = accord.load(folder)
    before, weights = logits(lm), {name: t.clone() for name, t in lm.model.state_dict().items()}
    learns = {name: p.requires_grad for name, p in lm.model.named_parameters()}
    for number in range(2):  # the second time on what the first one left
        out = repair.train(lm, words_task, {**SMALL, "lr": 0.02}, folder=tmp_path / f"out{number}", seed=number)
    assert torch.equal(logits(lm), before)
    assert {name: p.requires_grad for name, p in lm.model.named_parameters()} == learns
    after = lm.model.state_dict()
    assert after.keys() == weights.keys() and all(torch.equal(t, weights[name]) for name, t in after.items())
    repaired = logits(accord.load(out))
    assert (repaired - before).abs().max() > 0.05
    opened = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), out)
    torch.testing.assert_close(plain_logits(opened), repaired, rtol=1e-4, atol=1e-4)
    drift = repair.merge(out, tmp_path / "merged")
    assert drift.mean < drift.largest < 1e-3 and drift.logodds < 1e-3 and drift.prompts == 12
    assert json.loads((tmp_path / "merged" / "merge.json").read_text())["largest"] == drift.largest
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(plain_logits(merged), repaired, rtol=1e-3, atol=1e-3)


def test_a_merge_that_fails_leaves_no_half_model(
    base: Path, words_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = repair.train(str(base), words_task, SMALL, folder=tmp_path / "out")
    prompts = json.loads((out / "repair.json").read_text())["about"]["prompt_ids"]
    lm = accord.load(base)
    queries = [asked for _, asked in LabelWords.of(lm, words_task).queries(lm, words_task, words_task.items[:8])]
    assert [tuple(ids) for ids in prompts] == [query.context for query in queries]

    def fail(*_: Any) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr("accord.repair.merging._drift", fail)
        with pytest.raises(OSError, match="full"):
            repair.merge(out, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    repair.merge(out, tmp_path / "merged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "merged", "out"]


def test_full_fine_tuning_gives_a_whole_model(base: Path, words_task: Task, tmp_path: Path) -> None:
    lm = accord.load(base)
    before = logits(lm)
    out = repair.train(lm, words_task, {**SMALL, "full": True}, folder=tmp_path / "out")
    assert torch.equal(logits(lm), before)
    repaired = logits(accord.load(out))
    assert (repaired - before).abs().max() > 1e-3
    torch.testing.assert_close(plain_logits(AutoModelForCausalLM.from_pretrained(out)), repaired)
    with pytest.raises(AccordError, match="whole weights already"):
        repair.merge(out, tmp_path / "merged")


# A round is measured before the kill and counted on after it; dropout and parts of a batch are drawn again.
KILLED = {"kind": "consistency", "items": 30, "rounds": 2, "steps": 9, "batch": 6, "micro_batch": 4, "dropout": 0.3}
KILLED["allow_low_mass"] = True  # where the test's own leave does not reach


def test_a_killed_run_ends_with_the_same_bytes(base: Path, words_task: Task, tmp_path: Path) -> None:
    table = {**KILLED, "checkpoint_every": 2}
    straight = repair.train(str(base), words_task, table, folder=tmp_path / "straight", seed=3)
    code = f"""
import os, pickle, signal
from pathlib import Path
from accord import repair
def progress(done, total):
    if (done, total) == (7, 9):
        os.kill(os.getpid(), signal.SIGKILL)
task = pickle.loads(Path({str(tmp_path / "task")!r}).read_bytes())
repair.train({str(base)!r}, task, {table!r}, folder={str(tmp_path / "killed")!r}, seed=3, progress=progress)
"""
    (tmp_path / "task").write_bytes(pickle.dumps(words_task))
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run([sys.executable, "-c", code], check=False, env={**os.environ, **threads})
    assert done.returncode == -signal.SIGKILL
    killed = tmp_path / "killed"
    assert [path.name for path in (killed / "checkpoints").glob("step-*[0-9]")] == ["step-00000006"]
    with pytest.raises(AccordError, match="another seed"):
        repair.train(str(base), words_task, table, folder=killed, seed=4)
    steps: list[int] = []
    repair.train(str(base), words_task, table, folder=killed, seed=3, progress=lambda done, _: steps.append(done))
    assert steps == [7, 8, 9]
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (killed / name).read_bytes() == (straight / name).read_bytes()
    curves = [[json.loads(line) for line in (f / "curve.jsonl").read_text().splitlines()] for f in (killed, straight)]
    for row in (*curves[0], *curves[1]):
        row.pop("seconds")
    assert curves[0] == curves[1]
    # Whole, it is left alone; of other settings, refused.
    assert not (killed / "checkpoints").exists()
    assert repair.train(str(base), words_task, table, folder=killed, seed=3, progress=None) == killed
    with pytest.raises(AccordError, match="another repair"):
        repair.train(str(base), words_task, table, folder=killed, seed=5)


class Zeroed:
    """Its second loss is not a number."""

    def __init__(self) -> None:
        self.memory: dict[str, Any] = {}

    def batch(self, lm: accord.LanguageModel, step: int) -> PairBatch:
        factor = float("nan") if step == 1 else 1.0
        return PairBatch([Pair((5, 6), (7,))], lambda s: {"good": s.sum(), "bad": s.sum() * factor})


def test_what_is_no_number_stops_with_step_and_term(base: Path, words_task: Task, tmp_path: Path) -> None:
    config = RankAlign(steps=3)
    with (
        trainable(accord.load(base), config, 0) as trainee,
        pytest.raises(AccordError, match=r"finite number[\s\S]*step 1[\s\S]*bad = "),
    ):
        loop.fit(trainee, Zeroed(), config, seed=0, folder=tmp_path, settings={})


def test_only_a_plain_backbone_is_trained(base: Path, words_task: Task, tmp_path: Path) -> None:
    out = repair.train(str(base), words_task, SMALL, folder=tmp_path / "out")
    with pytest.raises(AccordError, match="merge it first"):
        repair.train(str(out), words_task, SMALL, folder=tmp_path / "again")
    repair.merge(out, tmp_path / "merged")
    repair.train(str(tmp_path / "merged"), words_task, SMALL, folder=tmp_path / "again")
    repair.save_edits([], tmp_path / "edits", base=str(base), about={})
    with pytest.raises(AccordError, match="only an adapter"):
        repair.merge(tmp_path / "edits", tmp_path / "no")
    half = accord.load(base, dtype="bfloat16")
    with pytest.raises(AccordError, match="half precision"):
        repair.train(half, words_task, {**SMALL, "full": True}, folder=tmp_path / "half")
    assert not (tmp_path / "half").exists()


@pytest.mark.real
def test_the_real_model_takes_two_steps_and_merges(tmp_path: Path) -> None:
    items = accord.task("hypernymy", split="train", limit=8)
    out = repair.train("smollm2-135m", items, {"kind": "rankalign", "steps": 2, "batch": 4}, folder=tmp_path / "out")
    drift = repair.merge(out, tmp_path / "merged")
    assert drift.largest < 1e-3 and drift.logodds < 1e-3
