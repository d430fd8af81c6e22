"""Repairs of a task with its own label words: each trains or moves these, or is refused before the model runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tiny import tiny_model, tiny_tokenizer

import accord
from accord.errors import AccordError
from accord.explain.answers import AnswersByState
from accord.lm import Backbone
from accord.pathway import measure_pathway
from accord.pathway.patching import patch
from accord.repair import merge, operate, read_repair, repair
from accord.repair.consistency import Agreeing
from accord.repair.dpo import Preferring
from accord.repair.evidence import validator_logodds
from accord.repair.rankalign import RankAligning
from accord.repair.scores import Odds, Pair
from accord.repair.sft import FineTuning
from accord.tasks import Task

TEXTS = [f"the {word} was no good, yes it was not" for word in ("film", "plot", "cast", "score", "end", "set")]
JA = {"yes": ["Ja"], "no": ["Nein"]}
LABELS = {"labels": ["lieb", "fremd"], "gold": "kind"}
TRAINED = ("rankalign", "sft", "consistency", "dpo")
FITTED = ("readout", "calibrate", "direction", "concepts")
Make = Callable[..., Task]


@pytest.fixture
def make(words_task: Task, tmp_path: Path) -> Make:
    def task_of(**keys: Any) -> Task:
        rows = [(item.fields["one"], item.answer, item.gold) for item in words_task.items]
        lines = [f"{noun},{kind},{gold},{'lieb' if gold else 'fremd'}\n" for noun, kind, gold in rows]
        (tmp_path / "rows.csv").write_text("one,two,same,kind\n" + "".join(lines))
        table = {"generator": "{One} is like", "validator": "Is {one} like {two}?", "answer": "two", "gold": "same"}
        return accord.task({"data": tmp_path / "rows.csv", **table, **keys}, split="all")

    return task_of


def tiny(*words: str) -> Backbone:
    return Backbone(tiny_model("llama", vocab_size=400), tiny_tokenizer(more=words))


def single() -> Backbone:
    return tiny("ĠJa", "Ja", "ĠNein", "Nein")


@pytest.mark.parametrize("lm", [single(), tiny()], ids=["one token", "several"])
def test_trained_kinds_learn_the_words_of_the_task(make: Make, lm: Backbone) -> None:
    task = make(**JA)
    ends: dict[str, set[str]] = {}
    builds = {"rankalign": RankAligning, "sft": FineTuning, "consistency": Agreeing, "dpo": Preferring}
    keys = {"rankalign": {"score": "yes"}, "sft": {"form": "validator"}}
    for kind, method in builds.items():
        section = read_repair({"kind": kind, "batch": 36, "steps": 2, **keys.get(kind, {})})
        batch = method.build(section, lm, task, 0, None).batch(lm, 0)
        pairs = [p for p in batch.pairs if isinstance(p, Pair) and lm.tokenizer.decode(list(p.context)).endswith("?")]
        ends[kind] = {lm.tokenizer.decode(list(pair.answer)) for pair in pairs}
    assert ends["rankalign"] == {" Ja"} and ends["consistency"] <= {" Ja", " Nein"} and ends["consistency"]
    assert ends["sft"] == ends["dpo"] == {" Ja", " Nein"}
    section = read_repair({"kind": "rankalign", "batch": 36, "steps": 2})
    for odds in RankAligning.build(section, lm, task, 0, None).batch(lm, 0).pairs:
        assert isinstance(odds, Odds)
        assert " Ja" in {lm.tokenizer.decode(list(ids)) for ids in odds.plus}
        assert " Nein" in {lm.tokenizer.decode(list(ids)) for ids in odds.minus}


@pytest.mark.parametrize("kind", TRAINED)
def test_trained_kinds_train_with_words_of_several_tokens(make: Make, kind: str, tmp_path: Path) -> None:
    lm, task = tiny(), make(**JA)
    before = validator_logodds(lm, task, task.items)
    keys = {"form": "validator"} if kind == "sft" else {}
    section = read_repair({"kind": kind, "batch": 12, "steps": 3, "lr": 0.01, "dropout": 0.0, **keys})
    model, tokenizer = tmp_path / "base", lm.tokenizer
    lm.model.save_pretrained(model)
    tokenizer.save_pretrained(model)
    repair(accord.load(model), task, section, folder=tmp_path / "out", base=str(model))
    after = validator_logodds(accord.load(tmp_path / "out"), task, task.items)
    assert np.abs(after - before).max() > 0.01
    if kind == "rankalign":
        assert merge(tmp_path / "out", tmp_path / "merged").logodds is None


def test_a_shift_moves_the_words_of_the_task(make: Make) -> None:
    lm, task = single(), make(**JA)
    fitted = operate(lm, task, read_repair({"kind": "calibrate", "share": 0.25}), texts=TEXTS)
    moved = validator_logodds(fitted.on(lm), task, task.items) - validator_logodds(lm, task, task.items)
    np.testing.assert_allclose(moved, fitted.chosen["shift"], atol=1e-4)
    assert abs(fitted.chosen["shift"]) > 0.1


def unused(*_: Any, **__: Any) -> Any:
    raise AssertionError("the model ran")


@pytest.mark.parametrize("kind", FITTED)
def test_kinds_that_move_one_token_refuse_words_of_several(
    make: Make, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lm = tiny()
    monkeypatch.setattr(lm, "hidden", unused)
    with pytest.raises(AccordError, match="one token each"):
        repair(lm, make(**JA), read_repair({"kind": kind}), folder=tmp_path / "out", texts=TEXTS)


@pytest.mark.parametrize("kind", [*TRAINED, *FITTED])
def test_where_the_validator_chooses_only_fine_tuning_is_done(
    make: Make, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lm, task = tiny(), make(**LABELS)
    if kind == "sft":
        batch = FineTuning.build(read_repair({"kind": "sft", "form": "validator"}), lm, task, 0, None).batch(lm, 0)
        assert {lm.tokenizer.decode(list(pair.answer)) for pair in batch.pairs} == {" lieb", " fremd"}
        return
    monkeypatch.setattr(lm, "hidden", unused)
    with pytest.raises(AccordError, match="asked yes or no"):
        repair(lm, task, read_repair({"kind": kind}), folder=tmp_path / "out", texts=TEXTS)


def test_explanations_and_pathways_refuse_words_of_several_tokens(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, task = tiny(), make(**JA)
    monkeypatch.setattr(lm, "hidden", unused)
    for work in (
        lambda: AnswersByState.of(lm, task, "validator", 1),
        lambda: patch(lm, lm, task),
        lambda: measure_pathway(lm, lm, task, {"test": task}),
    ):
        with pytest.raises(AccordError, match="one token each"):
            work()
    with pytest.raises(AccordError, match="asked yes or no"):
        patch(lm, lm, make(**LABELS))
