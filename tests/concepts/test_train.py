"""The trainer: resuming, stopping, reviving, and what it writes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.concepts.conftest import rows_for
from torch import Tensor

from accord.concepts import ConceptModel, Step, Superposition, Training, build, evaluate, fit, read_config
from accord.concepts.batchtopk import BatchTopK
from accord.concepts.lcblm import LCBLMBase
from accord.concepts.topk import TopK
from accord.concepts.train import curve_told, forget, learning_rate
from accord.errors import AccordError
from accord.steps import OpenStep

TRUTH = Superposition.random(8, 12, active=2, seed=1)
SHORT = Training(steps=60, lr=3e-3, log_every=10, checkpoint_every=16, evaluate_every=20, reseed_every=7, seed=5)


def fresh(table: dict[str, object], **over: object) -> ConceptModel:
    model = build(read_config(table | {"dead_after": 200} | over), 8, seed=2)
    model.fit_scale(islice(TRUTH.batches(64, seed=9)(0), 4))
    return model


def held_out() -> list[Tensor]:
    return [TRUTH.sample(100, seed=77)[0]]


def learnt(table: dict[str, object], size: int) -> Callable[[int], Iterator[Any]]:
    """Batches of what a kind learns from."""
    return lambda start: (rows_for(str(table["kind"]), x) for x in TRUTH.batches(size)(start))


def same_bits(a: ConceptModel, b: ConceptModel) -> bool:
    other = b.state_dict()
    return all(torch.equal(tensor, other[name]) for name, tensor in a.state_dict().items())


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("after", [10, 20, 50])
def test_resuming_gives_the_same_bits(table: dict[str, object], tmp_path: Path, after: int) -> None:
    whole = fresh(table)
    straight = fit(whole, learnt(table, 32), SHORT, held_out=held_out)

    def stop(row: dict[str, float]) -> None:
        if row["step"] == after:
            raise StoppedError

    with pytest.raises(StoppedError):
        fit(fresh(table), learnt(table, 32), SHORT, held_out=held_out, folder=tmp_path, progress=stop)
    resumed = fresh(table)
    again = fit(resumed, learnt(table, 32), SHORT, held_out=held_out, folder=tmp_path)
    assert same_bits(whole, resumed)
    timeless = [[{k: v for k, v in row.items() if k != "seconds"} for row in run.rows] for run in (straight, again)]
    assert timeless[0] == timeless[1]


KILLED = """
import os, signal, sys
import torch
from test_train import SHORT, TRUTH, fresh, held_out, fit
torch.set_num_threads(1)
def die(row):
    if row["step"] == 40:
        os.kill(os.getpid(), signal.SIGKILL)
fit(fresh({"kind": "lcblm", "concepts": 8, "width": 3}), TRUTH.batches(32), SHORT, held_out=held_out,
    folder=sys.argv[1], progress=die)
"""


def test_a_killed_process_resumes_with_the_same_bits(tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], env=os.environ | {"PYTHONPATH": path}, timeout=600
    )
    assert killed.returncode == -signal.SIGKILL
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-00000032", "step-00000032.note"]
    # As if killed while writing the next one, too.
    (tmp_path / "checkpoints/.step-00000048.partial").mkdir()
    (tmp_path / "checkpoints/.step-00000048.partial/model.safetensors").write_bytes(b"half")
    table: dict[str, object] = {"kind": "lcblm", "concepts": 8, "width": 3}
    whole, resumed = fresh(table), fresh(table)
    fit(whole, TRUTH.batches(32), SHORT, held_out=held_out)
    fit(resumed, TRUTH.batches(32), SHORT, held_out=held_out, folder=tmp_path)
    assert same_bits(whole, resumed)


def test_what_a_run_leaves_behind(tmp_path: Path) -> None:
    model, seen = fresh({"kind": "topk", "size": 12, "k": 2}), []
    result = fit(model, TRUTH.batches(32), SHORT, held_out=held_out, folder=tmp_path, progress=seen.append)
    rows = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert rows == result.rows == seen
    assert [row["step"] for row in rows] == [10, 20, 30, 40, 50, 60]
    assert all(row["loss"] == pytest.approx(row["mse"] + row["aux"], abs=1e-6) for row in rows)
    assert {"fvu", "fvu_hard", "l0", "alive"} <= rows[1].keys()
    names = sorted(p.name for p in (tmp_path / "checkpoints").rglob("*"))
    assert names == [
        *("model.safetensors", "optimizer.safetensors", "state.json", "step-00000060", "step-00000060.note")
    ]
    assert not model.training
    # A finished run is not run again.
    again = fresh({"kind": "topk", "size": 12, "k": 2})

    def none(step: int) -> Iterator[Tensor]:
        assert step == 60
        return iter(())

    fit(again, none, SHORT, held_out=held_out, folder=tmp_path)
    assert same_bits(model, again)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    fit(fresh({"kind": "topk", "size": 12, "k": 2}), TRUTH.batches(32), SHORT, folder=tmp_path)
    with pytest.raises(AccordError, match="another model"):
        fit(fresh({"kind": "topk", "size": 12, "k": 3}), TRUTH.batches(32), SHORT, folder=tmp_path)
    other = SHORT.model_copy(update={"lr": 1.0})
    with pytest.raises(AccordError, match="another training"):
        fit(fresh({"kind": "topk", "size": 12, "k": 2}), TRUTH.batches(32), other, folder=tmp_path)


@pytest.mark.parametrize("damaged", ["optimizer.safetensors", "state.json", "../step-00000048.note"])
def test_a_damaged_checkpoint_is_not_gone_on_from(
    damaged: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table: dict[str, object] = {"kind": "topk", "size": 12, "k": 2}
    whole = fresh(table)
    fit(whole, TRUTH.batches(32), SHORT)

    def stop(row: dict[str, float]) -> None:
        if row["step"] == 50:
            raise StoppedError

    with pytest.raises(StoppedError):
        fit(fresh(table), TRUTH.batches(32), SHORT, folder=tmp_path, progress=stop)
    path = tmp_path / "checkpoints/step-00000048" / damaged
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    resumed = fresh(table)
    fit(resumed, TRUTH.batches(32), SHORT, folder=tmp_path)
    assert same_bits(whole, resumed)
    assert "step-00000048 is damaged" in caplog.text
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-00000060", "step-00000060.note"]


def test_half_precision_embeddings_train_in_single(table: dict[str, object]) -> None:
    model = fresh(table)
    kind = str(table["kind"])
    fit(model, lambda step: (rows_for(kind, x.bfloat16()) for x in TRUTH.batches(32)(step)), SHORT)
    assert model.encode(held_out()[0].bfloat16()).strength.dtype == torch.float32


def broken(at: int, value: float) -> Callable[[int], Iterator[Tensor]]:
    def start(step: int) -> Iterator[Tensor]:
        for x in TRUTH.batches(32)(step):
            if step == at:
                x[3, 2] = value
            yield x
            step += 1

    return start


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_stops_with_step_and_term(table: dict[str, object], value: float) -> None:
    model = fresh(table)
    with pytest.raises(AccordError, match=r"(?s)step 13.*mse = (nan|inf)"):
        fit(model, lambda step: (rows_for(str(table["kind"]), x) for x in broken(13, value)(step)), SHORT)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_the_guilty_term_is_named() -> None:
    class Guilty(type(fresh({"kind": "l1", "size": 12}))):  # type: ignore[misc]
        def loss(self, x: Tensor, step: Step) -> dict[str, Tensor]:
            return super().loss(x, step) | {"extra": torch.log(torch.tensor(-1.0)), "fine": x.sum() * 0}

    model = fresh({"kind": "l1", "size": 12})
    model.__class__ = Guilty
    with pytest.raises(AccordError, match=r"(?s)step 0\b.*extra = nan"):
        fit(model, TRUTH.batches(32), SHORT)


def test_batches_that_run_out_and_do_not_fit() -> None:
    model = fresh({"kind": "l1", "size": 12})
    with pytest.raises(AccordError, match=r"(?s)ran out.*3 steps"):
        fit(model, lambda step: islice(TRUTH.batches(8)(step), 3), SHORT)
    with pytest.raises(AccordError, match="do not fit"):
        fit(model, lambda step: iter([torch.zeros(4, 9)]), SHORT)


def test_early_stop_keeps_the_best(tmp_path: Path) -> None:
    training = Training(steps=400, lr=0.3, warmup=0.0, evaluate_every=5, patience=3, log_every=50)
    model = fresh({"kind": "topk", "size": 12, "k": 2})
    result = fit(model, TRUTH.batches(32), training, held_out=held_out, folder=tmp_path)
    judged = [row["fvu"] for row in result.rows if "fvu" in row]
    assert result.stopped_early
    assert result.steps < 400
    assert judged.index(min(judged)) == len(judged) - 4
    assert evaluate(model, held_out()).fvu == pytest.approx(min(judged), rel=1e-6)
    again = fresh({"kind": "topk", "size": 12, "k": 2})
    fit(again, TRUTH.batches(32), training, held_out=held_out, folder=tmp_path)
    assert same_bits(model, again)
    with pytest.raises(AccordError, match="patience"):
        fit(model, TRUTH.batches(32), training)


def test_learning_rate_rises_and_falls() -> None:
    t = Training(steps=100, lr=2.0, warmup=0.1, decay=0.2)
    rates = [learning_rate(s, t) for s in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9:81] == [pytest.approx(2.0)] * 72
    assert rates[90] == pytest.approx(1.0)
    assert rates[99] == pytest.approx(0.1)


@torch.no_grad()
def kill(model: ConceptModel, count: int) -> None:
    """Make the first concepts unable to fire, as it happens to their kind."""
    if isinstance(model, LCBLMBase):
        model.offset[:count] = -100.0  # no embedding is ever near enough
    elif isinstance(model, TopK | BatchTopK):
        model.W_enc[:count] *= 0.01  # others are always larger
    else:
        model.b_enc[:count] = -30.0


@pytest.mark.parametrize("revive", [False, True])
def test_dead_concepts_are_revived(kind: str, revive: bool) -> None:
    after = 200 if revive else 10**12
    size = {"concepts": 16, "width": 3, "similarity": "distance"} if "lcblm" in kind else {"size": 16}
    k = {"k": 2} if "topk" in kind or kind == "matryoshka" else {}
    labels = {"labels": ["a", "b"]} if kind == "supervised" else {}
    model = fresh({"kind": kind} | size | k | labels, dead_after=after)
    kill(model, 8)
    fit(model, learnt({"kind": kind}, 64), Training(steps=300, lr=1e-2, warmup=0.0, reseed_every=20))
    alive = evaluate(model, [TRUTH.sample(2000, seed=5)[0]]).rates[:8] >= 1e-3
    share = float(alive.double().mean())
    assert share >= 0.75 if revive else share <= 0.25


@pytest.mark.parametrize("similarity", ["cosine", "inner", "distance"])
@pytest.mark.parametrize("encoder", ["gelu", "linear", "mlp"])
@pytest.mark.parametrize("name", ["lcblm", "lcblm-shared"])
def test_a_reseeded_concept_fires_for_some_and_mends_its_token(name: str, encoder: str, similarity: str) -> None:
    size = {"concepts": 6, "width": 8, "similarity": similarity, "encoder": encoder}
    model = fresh({"kind": name} | size).eval()
    model.b_dec.data += 0.5
    x = TRUTH.sample(400, 3)[0]
    before = model(x)
    model.idle[4] = 10**9
    kept = model.state_dict()["h"][:4].clone()
    assert model.reseed(x, Step(1, 2, torch.Generator().manual_seed(0))).tolist() == [4]
    assert torch.equal(model.h[:4], kept)
    strength = model.encode(x).strength[:, 4]
    on = (strength > 0.5).double().mean()
    assert 0 < on < (0.5 if name == "lcblm" else 1.0)
    # The token it was aimed at is one of those now reconstructed better than before.
    error = [(x - out).square().sum(1) for out in (before, model(x))]
    best = int((error[0] - error[1]).argmax())
    assert strength[best] > 0.5
    assert error[1][best] < 0.7 * error[0][best]


def test_a_twin_is_spare_only_while_concepts_are_formed() -> None:
    model = fresh({"kind": "lcblm", "concepts": 6, "width": 3, "forming": 0.3}).eval()
    with torch.no_grad():
        for weight in (model.h, model.W_enc, model.b_enc):
            weight[5] = weight[2]
    x, noise = TRUTH.sample(400, 3)[0], torch.Generator().manual_seed(0)
    assert model.reseed(x, Step(60, 100, noise)).tolist() == []
    assert 5 in model.reseed(x, Step(10, 100, noise)).tolist()
    assert not torch.equal(model.h[5], model.h[2])


def test_reseeding_forgets_the_moments_of_the_dead_alone() -> None:
    model = fresh({"kind": "l1", "size": 12})
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    sum(model.loss(TRUTH.sample(32, 0)[0], Step(1, 2)).values()).backward()
    optimizer.step()
    before = optimizer.state[model.W_enc]["exp_avg"].clone()
    model.idle[[2, 5]] = 10**9
    changed = model.reseed(TRUTH.sample(32, 0)[0], Step(1, 2, torch.Generator().manual_seed(0)))
    forget(optimizer, model, changed)
    assert changed.tolist() == [2, 5]
    assert model.idle[[2, 5]].tolist() == [0, 0]
    after = optimizer.state[model.W_enc]["exp_avg"]
    assert after[[2, 5]].abs().sum() == 0
    others = [k for k in range(12) if k not in (2, 5)]
    assert torch.equal(after[others], before[others])
    torch.testing.assert_close(model.W_dec[2].norm(), torch.tensor(1.0))


class Heard:
    """What has a place for words, and remembers them."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def __call__(self, done: int, total: int) -> None:
        """Not asked here."""

    def tell(self, words: str) -> None:
        self.words.append(words)


def test_the_loss_is_told_from_the_rows_of_the_curve_alone() -> None:
    """So that nobody who watches makes a GPU wait."""
    heard, rows = Heard(), []
    told = curve_told(heard)

    def both(row: dict[str, float]) -> None:
        rows.append(row)
        told(row)

    fit(fresh({"kind": "topk", "size": 12, "k": 2}), TRUTH.batches(32), SHORT, held_out=held_out, progress=both)
    assert len(heard.words) == len(rows) == 6
    assert heard.words[0] == f"loss {rows[0]['loss']:.4g}"
    judged = [row["fvu"] for row in rows[:-1] if "fvu" in row][-1]  # the newest stands until there is another
    assert "fvu" not in rows[-2] and heard.words[-2].endswith(f", held-out FVU {judged:.4g}")
    curve_told(lambda done, total: None)(rows[0])  # who hears no words


def test_a_bar_moves_and_tells_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int, str]] = []

    class Step(OpenStep):
        def tell(self, words: str) -> None:
            super().tell(words)
            seen.append((self.done, self.total, words))

    monkeypatch.setattr("accord.progress.OpenStep", Step)
    fit(fresh({"kind": "topk", "size": 12, "k": 2}), TRUTH.batches(32), SHORT, progress=True)
    assert [step[:2] for step in seen] == [(step, 60) for step in range(10, 61, 10)]
    assert all(words.startswith("loss ") for *_, words in seen)
