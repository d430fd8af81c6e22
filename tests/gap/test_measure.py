"""The measurement end to end: against a plain reference, resumed, by layer, and on the small real model."""

import gc
import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import accord
from accord.errors import AccordError
from accord.gap import NO_FORMS, YES_FORMS, measure_gap, summarize
from accord.lm import Backbone, Query, score
from accord.lm.scoring import Score
from accord.tasks import Chat, Form, Item, Task, Template
from tests.tiny import tiny_model, tiny_tokenizer


def asking(items: list[Item], **keys: Any) -> Task:
    """A task small enough to read: letters and words, some answers right."""
    generator, validator = map(Template.parse, ("{noun} are a kind of", "Are {noun} {answer}? Answer:"))
    return Task(
        "pairs",
        "all",
        tuple(items),
        Form("first", generator, "zero", ()),
        Form("first", validator, "zero", ()),
        **{"chat": None, "settings": {}, "answer_score": "first", **keys},
    )


def pairs(n: int = 24, **keys: Any) -> Task:
    nouns = ["bees", "kebabs", "oaks", "robins", "chairs", "a very long noun phrase"]
    answers = ["food", "bird", "tree things", "insect"]
    rows = [{"noun": nouns[i % 6], "row": str(i), "answer": answers[i // 6 % 4]} for i in range(n)]
    return asking([Item(row, row["answer"], gold=i % 3 == 0) for i, row in enumerate(rows)], **keys)


@pytest.fixture(scope="module")
def lm() -> Backbone:
    return Backbone(tiny_model(), tiny_tokenizer())


@torch.no_grad()
def plain(lm: Any, generator: str, validator: str, answer: str) -> dict[str, float]:
    """One item, one prompt at a time, probabilities in float64: the definitions written out."""
    tokenizer = lm.tokenizer
    prompt = tokenizer(generator)["input_ids"]
    whole = tokenizer(f"{generator} {answer}")["input_ids"]
    tail = whole[len(prompt) :]
    logp = lm.model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    p = float(logp[len(prompt) - 1, tail[0]].exp())
    rank = 1 + int((logp[len(prompt) - 1] > logp[len(prompt) - 1, tail[0]]).sum())
    probabilities = lm.model(torch.tensor([tokenizer(validator)["input_ids"]])).logits[0, -1].double().softmax(-1)

    def mass(forms: tuple[str, ...]) -> float:
        ids = [tokenizer(form, add_special_tokens=False)["input_ids"] for form in forms]
        return sum(float(probabilities[i]) for i in {i[0] for i in ids if len(i) == 1})

    return {
        "generator_logodds": math.log(p / (1 - p)),
        "generator_logprob": sum(float(logp[len(prompt) - 1 + i, token]) for i, token in enumerate(tail)),
        "generator_rank": rank,
        "validator_logodds": math.log(mass(YES_FORMS) / mass(NO_FORMS)),
        "yes_no_mass": mass(YES_FORMS) + mass(NO_FORMS),
    }


def test_every_score_is_the_definition(lm: Backbone) -> None:
    task = pairs()
    gap = measure_gap(lm, task, resamples=0)
    assert list(gap.scores["row"]) == [str(i) for i in range(24)]
    for item, row in zip(task.items, gap.scores.to_dict("records"), strict=True):
        assert (row["generator_prompt"], row["validator_prompt"]) == task.prompts(item)
        assert (row["answer"], row["gold"]) == (item.answer, item.gold)
        for name, value in plain(lm, *task.prompts(item), item.answer).items():
            assert row[name] == pytest.approx(value, abs=1e-4), name


def test_metrics_are_those_of_the_scores(lm: Backbone) -> None:
    gap = measure_gap(lm, pairs())
    counts = {"first_token_clashes", "task_items"}
    assert {name: gap.metrics[name] for name in gap.metrics.keys() - counts} == summarize(gap.scores)
    assert gap.metrics["n"]["value"] == 24


def test_layers_end_in_the_scores_and_are_all_there(lm: Backbone) -> None:
    gap = measure_gap(lm, pairs(), layers=True, resamples=10)
    assert gap.layers is not None and gap.layer_metrics is not None
    assert gap.layer_matrix is not None and gap.lens is not None
    assert len(gap.layers) == 24 * (lm.n_layers + 1)
    top = gap.layers[gap.layers["layer"] == lm.n_layers].sort_values("item")
    np.testing.assert_allclose(top["validator_logodds"], gap.scores["validator_logodds"])
    np.testing.assert_allclose(top["generator_logodds"], gap.scores["generator_logodds"])
    at_top = gap.layer_metrics.set_index(["layer", "metric"])["value"][(lm.n_layers, "pearson_all")]
    assert at_top == pytest.approx(gap.metrics["pearson_all"]["value"])
    corner = gap.layer_matrix[(gap.layer_matrix[["generator_layer", "validator_layer"]] == lm.n_layers).all(axis=1)]
    assert corner["pearson"].item() == pytest.approx(gap.metrics["pearson_all"]["value"])
    probabilities = gap.lens.groupby(["form", "position", "layer"])["probability"]
    assert (probabilities.size() == 1).all() and gap.lens["probability"].between(0, 1).all()


def test_a_middle_layer_is_the_lens_of_that_layer(lm: Backbone) -> None:
    task = pairs(4)
    gap = measure_gap(lm, task, layers=True, resamples=0)
    assert gap.layers is not None
    ids = torch.tensor([lm.tokenizer(task.prompts(task.items[2])[1])["input_ids"]])
    with torch.no_grad():
        logp = lm.lens(lm.hidden(ids, layers=[1])[1][0, -1]).double().softmax(-1)
    yes, no = (
        sum(float(logp[i]) for i in {lm.tokenizer(f, add_special_tokens=False)["input_ids"][0] for f in forms})
        for forms in (("Yes", " Yes", "yes", " yes"), ("No", " No", "no", " no"))
    )
    row = gap.layers[(gap.layers["item"] == 2) & (gap.layers["layer"] == 1)]
    assert row["validator_logodds"].item() == pytest.approx(math.log(yes / no), abs=1e-4)


def test_parts_of_a_killed_run_are_used_and_give_the_same_numbers(
    lm: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in ("_PART", "_TOGETHER"):  # numbers are the same but for the rounding of other batches
        monkeypatch.setattr(f"accord.gap.measure.{size}", 5)
    task = pairs()
    whole = measure_gap(lm, task, layers=True, resamples=20)

    class Killed(BaseException):
        pass

    def die(done: int, total: int) -> None:
        if done >= 10:
            raise Killed

    with pytest.raises(Killed):
        measure_gap(lm, task, layers=True, resamples=20, parts=tmp_path, progress=die)
    assert len(list(tmp_path.glob("*.parquet"))) == 2
    calls: list[int] = []
    monkeypatch.setattr("accord.gap.measure.score", lambda *a, **k: calls.append(len(a[1])) or accord.score(*a, **k))
    again = measure_gap(lm, task, layers=True, resamples=20, parts=tmp_path)
    assert sum(calls) == 2 * 14
    assert again.metrics == whole.metrics
    pd.testing.assert_frame_equal(again.scores, whole.scores)


def test_queries_are_made_for_a_part_at_a_time(lm: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held of all items is their token ids alone, 4 bytes each."""
    monkeypatch.setattr("accord.gap.measure._TOGETHER", 5)
    alive: list[int] = []

    def counted(lm: Any, queries: Any, **options: Any) -> Any:
        alive.append(sum(type(each) is Query for each in gc.get_objects()))
        return score(lm, queries, **options)

    monkeypatch.setattr("accord.gap.measure.score", counted)
    before = sum(type(each) is Query for each in gc.get_objects())
    measure_gap(lm, pairs(60), resamples=0)
    assert len(alive) == 12 and max(alive) - before <= 2 * 2 * 5


def test_what_is_held_of_an_item_is_little(lm: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its token ids and the rows of its scores: a few hundred bytes, however many items there are."""
    monkeypatch.setattr("accord.gap.measure._TOGETHER", 100)
    held: list[int] = []

    def faked(lm: Any, queries: list[Query], **options: Any) -> list[Score]:
        held.append(tracemalloc.get_traced_memory()[0])
        zeros = [np.zeros(len(query.answers)) for query in queries]
        steps = [tuple(np.zeros(len(answer)) for answer in query.answers) for query in queries]
        ranks = [np.ones(len(query.answers), dtype=np.int64) for query in queries]
        return [Score(*[row] * 3, *rest, row == 0) for row, *rest in zip(zeros, ranks, steps, strict=True)]

    monkeypatch.setattr("accord.gap.measure.score", faked)
    monkeypatch.setattr("accord.gap.measure._token_map", lambda *_: pd.DataFrame())
    task = pairs(2_000)
    tracemalloc.start()
    try:
        measure_gap(lm, task, resamples=0)
    finally:
        tracemalloc.stop()
    assert len(held) == 20
    first, *_, middle, last = held[0], held[10], held[-1]
    each = (last - first) / 1_900
    assert each < 500 and (last - middle) / 900 < 1.5 * each, held


def test_written_tables_read_back(lm: Backbone, tmp_path: Path) -> None:
    gap = measure_gap(lm, pairs(), layers=True, resamples=10)
    gap.write(tmp_path)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "scores.parquet"), gap.scores, check_dtype=False)
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"answer_score": "first", **gap.metrics}
    assert sorted(p.stem for p in tmp_path.glob("*.parquet")) == [
        "corrections", "layer_matrix", "layer_metrics", "layers", "lens", "scores",
    ]  # fmt: skip


def test_the_chat_template_wraps_both_prompts(lm: Backbone) -> None:
    task = pairs(6, chat=Chat())
    with pytest.raises(AccordError, match="chat template"):
        measure_gap(lm, task)
    chatty = Backbone(tiny_model(), tiny_tokenizer())
    chatty.tokenizer.chat_template = "{{ bos_token }}[{{ messages[0].content }}]{{ '\n' }}"
    gap = measure_gap(chatty, task, resamples=0)
    text = f"<s>[{task.prompts(task.items[0])[1]}]\n"
    ids = chatty.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids.count(1) == 1
    with torch.no_grad():
        p = chatty.model(torch.tensor([ids])).logits[0, -1].double().softmax(-1)
    forms = chatty.tokenizer.convert_tokens_to_ids(["Yes", "ĠYes", "yes", "Ġyes", "No", "ĠNo", "no", "Ġno"])
    assert gap.scores["yes_no_mass"][0] == pytest.approx(float(p[forms].sum()), abs=1e-5)


def test_fields_named_like_a_column_of_scores_keep_their_values(lm: Backbone) -> None:
    item = Item({"noun": "bees", "generator_rank": "7", "group": "eu", "answer": "food"}, "food", gold=True)
    scores = measure_gap(lm, asking([item]), resamples=0).scores
    assert scores["field_generator_rank"].item() == "7" and scores["field_group"].item() == "eu"
    assert scores["generator_rank"].item() >= 1 and scores["group"].item() is None
    assert "field_answer" not in scores  # the same in both


def test_a_task_without_items_is_refused(lm: Backbone) -> None:
    with pytest.raises(AccordError, match="no items"):
        measure_gap(lm, asking([]))


@pytest.mark.real
def test_the_small_real_model_measures_as_the_plain_way() -> None:
    real = accord.load("smollm2-135m", device="cpu")
    task = accord.task("hypernymy", split="test", limit=12)
    gap = accord.measure_gap(real, task, resamples=50)
    for item, row in zip(task.items, gap.scores.to_dict("records"), strict=True):
        for name, value in plain(real, *task.prompts(item), item.answer).items():
            assert row[name] == pytest.approx(value, abs=1e-3), name
    assert gap.metrics["rank_sanity"]["value"] > 0.9
    assert gap.metrics["yes_no_mass"]["value"] > 0.9
