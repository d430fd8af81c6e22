"""What l_G is of: against one item at a time in float64, at every layer; settled alike for every part of a task."""

import copy
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import accord
from accord.errors import AccordError
from accord.gap import AnswerScore, measure_gap
from accord.gap.answer_score import _end, answer_ids, clashing
from accord.gap.change import compare
from accord.gap.measure import Gap
from accord.gap.questions import generator_queries
from accord.lm import Backbone
from accord.lm.scoring import Query, answer_logodds, score
from accord.pathway.comparison import _generator_logodds
from accord.repair.config import read_repair
from accord.repair.evidence import gather
from accord.repair.method import TaskPairs
from accord.repair.rankalign import RankAligning
from accord.tasks import Task
from tests.tiny import tiny_model, tiny_tokenizer

COUNTED = ("first", "whole", "per_token")


def sums(folder: Path, answer_score: str | None = None, **keys: object) -> Task:
    """Sums, right ones and wrong ones, whose answers of one to four tokens all begin with the token of the space."""
    rows = [(a, b, a + b + wrong, "no" if wrong else "yes") for a in (1, 7, 60) for b in (2, 8, 97) for wrong in (0, 9)]
    data = folder / "sums.csv"
    data.write_text("a,b,c,ok\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    table = {"generator": "{a} + {b} =", "validator": "Is {a} + {b} = {c}?", "answer": "{c}", "gold": "ok"}
    table |= {"data": str(data), "test_share": 0.5}
    return accord.task(table, answer_score=answer_score, **{"split": "all", **keys})  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def lm(request: pytest.FixtureRequest) -> Backbone:
    return Backbone(tiny_model(request.param), tiny_tokenizer())


@torch.no_grad()
def plain(lm: Backbone, task: Task) -> dict[str, np.ndarray]:
    """l_G [item, layer] by each way of counting: one item at a time, whole sequences, float64."""
    exact = Backbone(copy.deepcopy(lm.model).double(), lm.tokenizer)
    odds: dict[str, list[list[float]]] = {counted: [] for counted in COUNTED}
    for item in task.items:
        prompt = lm.tokenizer(task.prompts(item)[0])["input_ids"]
        whole = lm.tokenizer(f"{task.prompts(item)[0]} {item.answer}")["input_ids"]
        answer, at = whole[len(prompt) :], len(prompt) - 1
        rows: dict[str, list[float]] = {counted: [] for counted in COUNTED}
        for state in exact.hidden(torch.tensor([whole]), layers=range(lm.n_layers + 1)).values():
            for module in exact._final:
                state = module(state)
            logits = exact._finish(exact._head(state[0]))
            logp = logits.log_softmax(-1)
            each = [float(logp[at + i, token]) for i, token in enumerate(answer)]
            for counted, x in zip(COUNTED, (each[0], sum(each), sum(each) / len(each)), strict=True):
                rows[counted].append(x - math.log(-math.expm1(x)))
        for counted in COUNTED:
            odds[counted].append(rows[counted])
    return {counted: np.array(values) for counted, values in odds.items()}


@pytest.mark.parametrize("counted", COUNTED)
def test_every_layer_is_scored_as_one_at_a_time_in_float64(lm: Backbone, tmp_path: Path, counted: str) -> None:
    task = sums(tmp_path, counted)
    gap, expected = measure_gap(lm, task, layers=True, resamples=0), plain(lm, task)
    assert gap.layers is not None and gap.answer_score == counted
    by_layer = gap.layers.pivot(index="item", columns="layer", values="generator_logodds").to_numpy()
    np.testing.assert_allclose(by_layer, expected[counted], atol=1e-3)
    np.testing.assert_allclose(gap.scores["generator_logodds"], expected[counted][:, -1], atol=1e-3)
    np.testing.assert_allclose(gap.scores["generator_first_logodds"], expected["first"][:, -1], atol=1e-3)
    right, wrong = (expected[counted][gap.scores["gold"] == gold, -1] for gold in (True, False))
    auc = np.mean((right[:, None] > wrong) + 0.5 * (right[:, None] == wrong))
    if counted != "first":  # all of whose scores are nearly alike
        assert gap.metrics["generator_auc"]["value"] == pytest.approx(auc)
    assert list(gap.scores["generator_tokens"]) == [1 + len(item.answer) for item in task.items]


def test_auto_counts_the_whole_where_first_tokens_clash(lm: Backbone, tmp_path: Path) -> None:
    task = sums(tmp_path)
    gap, chosen = measure_gap(lm, task, resamples=0), AnswerScore.of(lm, task)
    assert chosen == AnswerScore("whole", "auto", 18, 18) and gap.answer_score == "whole"
    np.testing.assert_allclose(
        gap.scores["generator_logodds"],
        measure_gap(lm, sums(tmp_path, "whole"), resamples=0).scores["generator_logodds"],
    )
    for keys in ({"split": "train"}, {"split": "test"}, {"limit": 2}):
        assert AnswerScore.of(lm, sums(tmp_path, **keys)) == chosen  # whatever part of it is asked
    assert AnswerScore.of(lm, sums(tmp_path, "first")).counted == "first"


def test_an_item_clashes_with_another_answer_of_the_other_gold_that_begins_alike() -> None:
    ids = [(1, 2), (1, 3), (1, 3), (4,), (4,), (5, 6), (7,)]
    assert clashing(ids, [True, False, True, True, False, True, False]) == [
        True,
        True,
        False,
        False,
        False,
        False,
        False,
    ]
    assert clashing([(1, 2), (1,), (1, 3)], [True, True, True]) == [False] * 3


def test_an_answer_is_tokenised_as_it_is_after_its_own_prompt(lm: Backbone, tmp_path: Path) -> None:
    """Without a join "Y" and "es" are one token, which belongs to the answer."""
    (tmp_path / "words.csv").write_text("n,a,ok\nbird Y,es,yes\nbird X,es,no\nfood Y,es,no\nY,es,yes\n")
    table = {"data": str(tmp_path / "words.csv"), "generator": "{n}", "validator": "{n}{a}?", "join": ""}
    task = accord.task({**table, "answer": "a", "gold": "ok"}, split="all")
    found = answer_ids(lm, task, task.items)
    assert found == [generator_queries(lm, task, [item])[0].answers[0] for item in task.items]
    assert {len(ids) for ids in found} == {1, 2}


def test_one_clash_in_a_hundred_is_left_alone(lm: Backbone, tmp_path: Path) -> None:
    def task(clashes: int) -> AnswerScore:
        answers = [("food", "yes"), ("bird", "no")] * 100
        answers += [("xo", "yes"), ("xa", "no")][:clashes]
        lines = "".join(f"{i},{answer},{gold}\n" for i, (answer, gold) in enumerate(answers[2:]))
        (tmp_path / "words.csv").write_text("n,answer,ok\n" + lines)
        table = {"data": str(tmp_path / "words.csv"), "generator": "{n} is", "validator": "{n} {answer}?"}
        return AnswerScore.of(lm, accord.task({**table, "answer": "answer", "gold": "ok"}))

    assert [task(n).counted for n in (0, 1, 2)] == ["first", "first", "first"]
    assert task(2).clashes == 2 and task(2).items == 200


def test_what_is_written_says_what_was_counted(lm: Backbone, tmp_path: Path) -> None:
    gap = measure_gap(lm, sums(tmp_path), resamples=0)
    gap.write(tmp_path / "gap")
    written = json.loads((tmp_path / "gap" / "metrics.json").read_text())
    assert written["answer_score"] == "whole"
    assert written["first_token_clashes"]["value"] == 18 and written["task_items"]["value"] == 18
    table = pd.read_parquet(tmp_path / "gap" / "scores.parquet")
    assert table.attrs == {"answer_score": "whole", "first_token_clashes": 18, "task_items": 18}
    other = measure_gap(lm, sums(tmp_path, "per_token"), resamples=0).scores
    with pytest.raises(AccordError, match="in two ways"):
        compare(table, other, resamples=0)


@pytest.mark.parametrize("counted", COUNTED)
def test_repairs_learn_from_the_measured_column(lm: Backbone, tmp_path: Path, counted: str) -> None:
    task = sums(tmp_path, counted)
    wide = Task(**{**vars(task), "items": task.items * 2, "pool": task.items})
    measured = measure_gap(lm, task, resamples=0).scores["generator_logodds"].to_numpy()
    np.testing.assert_allclose(gather(lm, wide).generator, np.tile(measured, 2), atol=1e-4)
    np.testing.assert_allclose(_generator_logodds(lm, task, None)["generator_logodds"], measured, atol=1e-4)
    pairs = TaskPairs.of(lm, task)
    np.testing.assert_allclose(pairs.generator_scores(lm, task.items).logodds, measured, atol=1e-4)
    section = read_repair({"kind": "rankalign", "direction": "both", "steps": 1, "batch": 18})
    method = RankAligning.build(section, lm, task, 0, None)
    np.testing.assert_allclose(list(method.rankings["g2v"].teacher.values()), measured, atol=1e-4)
    [pairs] = [list(method.rankings["v2g"].pairs.values())]
    learnt = [len(pair.answer) for pair in pairs]
    assert learnt == [1 if counted == "first" else 1 + len(item.answer) for item in task.items]
    assert {pair.per_token for pair in pairs} == {counted == "per_token"}


def test_certain_answers_keep_their_digits() -> None:
    steps = torch.tensor([[40.0, 41.0], [2.0, -3.0]], dtype=torch.float64)
    off = math.exp(-40) + math.exp(-41)  # 1 − p of the first
    assert float(answer_logodds(steps, "whole")[0]) == pytest.approx(-math.log(off), rel=1e-12)
    assert float(answer_logodds(steps, "per_token")[0]) == pytest.approx(-math.log(off / 2), rel=1e-12)
    assert float(answer_logodds(steps[1:, :1], "whole")[0]) == 2.0
    slope = torch.tensor([[40.0, 90.0], [-200.0, 3.0]], requires_grad=True)
    answer_logodds(slope, "whole").sum().backward()
    assert bool(torch.isfinite(slope.grad).all())  # type: ignore[arg-type]


def test_later_tokens_are_read_at_every_layer_only_if_asked(lm: Backbone) -> None:
    query = Query((5, 6), ((7, 8, 9), (7,)))
    [usual], [every] = score(lm, [query], layers=True), score(lm, [query], layers=True, every_token=True)
    assert usual.layer_steps is None and every.layer_steps is not None and every.layer_logodds is not None
    assert [steps.shape for steps in every.layer_steps] == [(lm.n_layers + 1, 3), (lm.n_layers + 1, 1)]
    np.testing.assert_allclose(every.layer_steps[0][-1], every.steps[0])
    np.testing.assert_allclose(every.layer_steps[0][:, 0], every.layer_logodds[:, 0])


def test_the_gap_is_no_other_where_first_tokens_count(lm: Backbone) -> None:
    task = accord.task("hypernymy", limit=6, validator_shots="zero", answer_score="first")
    gap: Gap = measure_gap(lm, task, resamples=0)
    assert gap.scores["generator_logodds"].equals(gap.scores["generator_first_logodds"].rename("generator_logodds"))


@pytest.mark.real
def test_sums_of_the_small_real_model() -> None:
    """Under its tokenizer every number begins with the space; hypernymy has no clash, and keeps its numbers."""
    real = accord.load("smollm2-135m", device="cpu")
    assert AnswerScore.of(real, accord.task("hypernymy", limit=1)) == AnswerScore("first", "auto", 0, 3040)


def test_the_counts_are_entries_of_a_table_without_intervals() -> None:
    found = AnswerScore("first", "auto", clashes=3, items=40)
    none = {"low": None, "high": None}
    assert found.metrics == {"first_token_clashes": {"value": 3.0, **none}, "task_items": {"value": 40.0, **none}}
    assert found.about == {"answer_score": "first", "first_token_clashes": 3, "task_items": 40}


@pytest.mark.parametrize(
    ("text", "end"),
    [("A bee is a kind of", " of"), ("of", "of"), ("x\nof", "\nof"), ("a b", " b"), ("", ""), ("   ", " ")],
)
def test_the_end_of_a_prompt_is_its_last_word_and_what_stands_before_it(text: str, end: str) -> None:
    assert _end(text) == end
