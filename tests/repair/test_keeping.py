"""Anchors of trained repairs on other tasks, against plain loops; what is trained or judged on is never kept."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import tiny_hub_folder, tiny_model, tiny_texts, tiny_tokenizer

import accord
from accord.errors import AccordError
from accord.kinds import code_of
from accord.lm import Backbone
from accord.relations import relation_tasks
from accord.repair import repair
from accord.repair.config import KINDS, read_repair
from accord.repair.keeping import Keeping
from accord.repair.learned import all_marks, links, marks
from accord.repair.method import Method
from accord.repair.readout import target_logodds, typical_removed
from accord.repair.scores import backward, scores
from accord.study import load as load_study
from accord.study import plan_study
from accord.tasks import Task


@pytest.fixture(scope="module")
def lm() -> Backbone:
    return Backbone(tiny_model(), tiny_tokenizer())


def kept_tasks() -> tuple[Task, ...]:
    """Of two relations, one wording each, some facts."""
    return tuple(replace(task, items=task.items[:20]) for task in relation_tasks("learned")[:6:3])


def built(lm: Backbone, task: Task, **keys: Any) -> tuple[Method, Keeping]:
    table = {"kind": "rankalign", "batch": 6, "steps": 5, "keep_batch": 7, **keys}
    config = read_repair({**table, "keep": ["relations"]})
    method: Method = code_of(KINDS, config.kind).build(config, lm, task, 3, None)
    return method, Keeping.build(config, method, lm, kept_tasks(), 3, None)


def moved() -> Backbone:
    """A model that training has changed."""
    other = Backbone(tiny_model(), tiny_tokenizer())
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    for parameter in other.model.parameters():
        parameter.requires_grad_(True)
    return other


def log_p(lm: Backbone, context: tuple[int, ...], answer: tuple[int, ...]) -> float:
    """Of an answer, one token at a time."""
    total, ids = 0.0, [*context]
    for token in answer:
        with torch.no_grad():
            total += float(lm.model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)[token])
        ids.append(token)
    return total


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("keep_to", ["base", "generator"])
@pytest.mark.parametrize(
    "keys",
    [{"direction": "v2g", "delta": 0.0}, {"kind": "sft"}, {"kind": "consistency", "rounds": 1}, {"kind": "dpo"}],
)
def test_each_batch_has_two_more_terms(lm: Backbone, words_task: Task, keys: dict[str, Any], keep_to: str) -> None:
    method, keeping = built(lm, words_task, keep_to=keep_to, keep_questions=2.0, keep_answers=0.5, **keys)
    after, seen = moved(), set()
    tables = [[accord.measure_gap(m, of.task, resamples=0).scores for of in keeping.kept] for m in (lm, after)]
    for step in range(5):
        own, batch = method.batch(lm, step), keeping.batch(lm, step)
        assert [*batch.pairs[: len(own.pairs)]] == [*own.pairs] and batch.counts == own.counts
        now = scores(after, batch.pairs).detach()
        terms, mine = batch.loss(now), own.loss(now[: len(own.pairs)])
        assert {name: float(terms[name]) for name in mine} == {name: float(term) for name, term in mine.items()}
        assert {k: float(v) for k, v in batch.shown(now).items()} == {
            k: float(v) for k, v in own.shown(now[: len(own.pairs)]).items()
        }
        number, numbers = keeping._drawn(step)
        seen.add(number)
        assert len(set(numbers)) == 7
        task, forms = keeping.kept[number].task, keeping.kept[number]
        base, odds = tables[0][number], tables[1][number]["validator_logodds"].to_numpy()
        wanted = base["validator_logodds"].to_numpy()
        if keep_to == "generator":
            corrected = typical_removed(base["generator_logodds"].to_numpy(), [item.answer for item in task.items])
            wanted = target_logodds(corrected, 1.5)
        far = 0.0
        for i in numbers:
            p, q = sigmoid(wanted[i]), sigmoid(odds[i])
            far += (p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))) / len(numbers)
        assert float(terms["kept_questions"]) == pytest.approx(2.0 * far, rel=1e-3, abs=1e-5)
        right = [forms.generator(task.items[i]) for i in numbers if task.items[i].gold]
        assert ("kept_answers" in terms) == bool(right)
        if right:
            each = [[log_p(m, p.context, p.answer) / len(p.answer) for p in right] for m in (lm, after)]
            lost = sum(max(before - now, 0.0) for before, now in zip(*each, strict=True)) / len(right)
            assert float(terms["kept_answers"]) == pytest.approx(0.5 * lost, rel=1e-3, abs=1e-5)
        assert len(batch.pairs) == len(own.pairs) + len(numbers) + len(right)
    assert seen == {0, 1}  # each has its turn


def test_parts_of_a_batch_give_the_whole_gradient(lm: Backbone, words_task: Task) -> None:
    _, keeping = built(lm, words_task, delta=0.0)
    gradients = []
    for micro_batch in (None, 4):
        after = moved()
        backward(after, keeping.batch(lm, 1).pairs, keeping.batch(lm, 1).loss, micro_batch=micro_batch)
        gradients.append([p.grad.clone() for p in after.model.parameters() if p.grad is not None])
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-3, atol=1e-5)


def test_at_the_base_nothing_is_pulled_and_weights_leave_terms_out(lm: Backbone, words_task: Task) -> None:
    for keys, names in (
        ({"keep_answers": 0.0}, {"g2v", "kept_questions"}),
        ({"keep_questions": 0.0}, {"g2v", "kept_answers"}),
    ):
        batch = built(lm, words_task, delta=0.0, **keys)[1].batch(lm, 0)
        terms = batch.loss(scores(lm, batch.pairs))
        assert terms.keys() == names
        kept = [float(term.detach()) for name, term in terms.items() if name.startswith("kept")]
        assert kept == [pytest.approx(0.0, abs=1e-5)]
    with pytest.raises(AccordError, match="keep has no weight"):
        read_repair({"kind": "sft", "keep": ["relations"], "keep_questions": 0.0, "keep_answers": 0.0})


def test_a_trained_repair_says_what_it_kept_and_goes_on_where_it_was(tmp_path: Path, words_task: Task) -> None:
    tiny_hub_folder(tmp_path / "base")
    lm, kept = accord.load(tmp_path / "base"), kept_tasks()
    table = {"kind": "consistency", "steps": 4, "rounds": 2, "batch": 4, "keep": ["relations"], "checkpoint_every": 2}
    repair(lm, words_task, read_repair(table), folder=tmp_path / "straight", kept=kept)
    assert all_marks(links(tmp_path / "straight")) == marks(words_task).union(*map(marks, kept)) > marks(words_task)
    rows = [json.loads(line) for line in (tmp_path / "straight" / "curve.jsonl").read_text().splitlines()]
    assert len(rows) == 4 and all({"answers", "kept_questions", "kept_answers"} <= row.keys() for row in rows)

    class Killed(BaseException):
        pass

    def stop(done: int, total: int) -> None:
        if total == 4 and done == 3:
            raise Killed

    with pytest.raises(Killed):
        repair(lm, words_task, read_repair(table), folder=tmp_path / "killed", kept=kept, progress=stop)
    repair(lm, words_task, read_repair(table), folder=tmp_path / "killed", kept=kept)
    straight, killed = (tmp_path / run / "adapter_model.safetensors" for run in ("straight", "killed"))
    assert straight.read_bytes() == killed.read_bytes()


def test_what_is_trained_is_not_kept(tmp_path: Path, words_task: Task) -> None:
    tiny_hub_folder(tmp_path / "base")
    lm = accord.load(tmp_path / "base")
    both = replace(words_task, name="again")
    with pytest.raises(AccordError, match=r"items that letters trains(.|\n)*36 of 36"):
        repair(lm, words_task, read_repair({"kind": "sft", "steps": 1}), folder=tmp_path / "r", kept=(both,))
    (tmp_path / "texts.txt").write_text("\n".join(tiny_texts()))
    study = (
        'name = "s"\n[backbone]\nmodel = "base"\ndevice = "cpu"\n[text]\nsource = "texts.txt"\n'
        '[[repair]]\nkind = "rankalign"\nlimit = 24\nkeep = ["NAME"]\n'
    )
    (tmp_path / "study.toml").write_text(study.replace("NAME", "hypernymy"))
    with pytest.raises(AccordError, match=r"items that hypernymy trains"):
        plan_study(load_study(tmp_path / "study.toml"))
    (tmp_path / "study.toml").write_text(study.replace("NAME", "relations"))
    plan_study(load_study(tmp_path / "study.toml"))
