"""Typicality against transformers, one answer at a time; what it stands beside, and when it is refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from accord.errors import AccordError
from accord.gap import measure_gap
from accord.gap.corrected import with_base
from accord.gap.typicality import null_context, typicality
from accord.lm import Backbone
from accord.lm.edited import Readout, WithReadout
from accord.tasks import Chat, Form, Item, Task, Template
from tests.gap.test_measure import asking, pairs
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def lm() -> Backbone:
    return Backbone(tiny_model(), tiny_tokenizer())


def negatable(task: Task) -> Task:
    return replace(
        task, generator=replace(task.generator, negated=Template.parse("{noun} are certainly not a kind of"))
    )


@torch.no_grad()
def plain(lm: Any, before: list[int], answer: list[int]) -> float:
    logp = lm.model(torch.tensor([before + answer])).logits[0].double().log_softmax(-1)
    return sum(float(logp[len(before) - 1 + i, token]) for i, token in enumerate(answer))


def tokens(lm: Any, item: Item) -> list[int]:
    ids: list[int] = lm.tokenizer(f" {item.answer}", add_special_tokens=False)["input_ids"]
    return ids


@pytest.mark.parametrize("bos", [True, False])
def test_it_is_the_log_probability_after_bos_or_eos(bos: bool) -> None:
    lm = Backbone(tiny_model(), tiny_tokenizer(bos=bos))
    task = pairs()
    start = lm.tokenizer.bos_token_id if bos else lm.tokenizer.eos_token_id
    expected = [plain(lm, [start], tokens(lm, item)) for item in task.items]
    assert typicality(lm, task).tolist() == pytest.approx(expected, abs=1e-4)
    scores = measure_gap(lm, task, resamples=0).scores
    assert scores["typicality"].tolist() == pytest.approx(expected, abs=1e-4)
    assert "base_typicality" not in scores and "negated_typicality" not in scores


def test_in_a_chat_it_comes_after_an_empty_message() -> None:
    lm = Backbone(tiny_model(), tiny_tokenizer())
    lm.tokenizer.chat_template = "<s>{% for m in messages %}{{ m.role }}: {{ m.content }}!{% endfor %}"
    lm.tokenizer.chat_template += "{% if add_generation_prompt %}you:{% endif %}"
    task = pairs(6, chat=Chat("Be brief.", {}, True))
    before = lm.tokenizer("<s>user: !you:", add_special_tokens=False)["input_ids"]
    assert list(null_context(lm, task)) == before
    answers = [lm.tokenizer(item.answer, add_special_tokens=False)["input_ids"] for item in task.items]
    assert typicality(lm, task).tolist() == pytest.approx([plain(lm, before, ids) for ids in answers], abs=1e-4)


def test_the_negated_one_comes_after_the_negated_prompt(lm: Backbone) -> None:
    task = negatable(pairs())
    prompts = [f"{item.fields['noun']} are certainly not a kind of" for item in task.items]
    expected = [
        plain(lm, lm.tokenizer(prompt)["input_ids"], tokens(lm, item))
        for prompt, item in zip(prompts, task.items, strict=True)
    ]
    gap = measure_gap(lm, task, typicality=("own", "negated"), resamples=0)
    assert gap.scores["negated_typicality"].tolist() == pytest.approx(expected, abs=1e-4)
    assert typicality(lm, task, kind="negated").tolist() == pytest.approx(expected, abs=1e-4)
    assert gap.corrections is not None
    assert set(gap.corrections["score"]) == {"logodds", "logprob", "per_token", "own", "own_per_token", "negated"}


def test_a_task_without_a_negated_wording_refuses_it(lm: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm, "hidden", None)  # nothing is computed before
    for ask in (
        lambda: measure_gap(lm, pairs(), typicality=("negated",)),
        lambda: typicality(lm, pairs(), kind="negated"),
    ):
        with pytest.raises(AccordError, match=r"no negated wording.*'first'[\s\S]*leave negated off"):
            ask()


def test_an_edited_model_has_its_own_and_its_bases(lm: Backbone) -> None:
    weight = torch.randn(lm.d_model, generator=torch.Generator().manual_seed(0))
    plus, minus = tokens(lm, Item({}, "bird", True))[:1], tokens(lm, Item({}, "food", True))[:1]
    edited = WithReadout(lm, Readout((1,), weight, 1.0, tuple(plus), tuple(minus), limit=3.0))
    task = asking([Item({"noun": "bees", "answer": a}, a, True) for a in ("bird", "tree bird", "food")])
    base = measure_gap(lm, task, resamples=0).scores
    scores = with_base(measure_gap(edited, task, resamples=0).scores, base)
    assert scores["base_typicality"].tolist() == pytest.approx(base["typicality"].tolist(), abs=1e-5)
    assert typicality(edited, task).tolist() == pytest.approx(scores["typicality"].tolist(), abs=1e-5)
    moved = (scores["typicality"] - scores["base_typicality"]).abs()
    assert moved[1] > 0.01  # its second token is read after the first position, where no readout acts
    assert moved[0] == pytest.approx(0, abs=1e-5)


def test_every_distinct_answer_is_scored_once(lm: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    from accord.gap import typicality as module

    asked: list[Any] = []
    whole = module.score

    def score(lm: Any, queries: Any, **keys: Any) -> Any:
        asked.extend(queries)
        return whole(lm, queries, **keys)

    monkeypatch.setattr(module, "score", score)
    task = pairs(24)
    measure_gap(lm, task, resamples=0)
    assert len(asked) == len({item.answer for item in task.items}) == 4
    asked.clear()
    measure_gap(lm, task, typicality=(), resamples=0)
    assert not asked


def test_without_a_start_token_all_else_is_measured() -> None:
    lm = Backbone(tiny_model(), tiny_tokenizer(bos=False))
    whole = measure_gap(lm, pairs(), resamples=0)
    lm.tokenizer.eos_token = None
    gap = measure_gap(lm, pairs(), resamples=0)
    assert "typicality" not in gap.scores
    assert gap.scores["generator_logprob"].tolist() == pytest.approx(whole.scores["generator_logprob"].tolist())
    with pytest.raises(AccordError, match="no BOS or EOS"):
        typicality(lm, pairs())


def test_answers_of_any_length_are_scored_whole_after_their_prompt() -> None:
    """A program with its line breaks; and more tokens than Python can call functions within functions."""
    lm = Backbone(tiny_model(max_position_embeddings=4096), tiny_tokenizer())
    code = "total = 0\n    for n in numbers:\n        total += n\n    return total"
    answers = [code, code.replace("+=", "-="), " ".join(["again and again"] * 100), "return 0"]
    prompt = Template.parse("def add(numbers):")
    items = tuple(Item({"answer": answer}, answer, i == 0) for i, answer in enumerate(answers))
    generator = Form("code", prompt, "zero", (), join="\n    ")
    validator = Form("code", Template.parse("Is this right? {answer}\nAnswer:"), "zero", ())
    task = Task("programs", "all", items, generator, validator, None, {}, answer_score="whole")
    scores = measure_gap(lm, task, resamples=0).scores
    assert scores["generator_tokens"].max() > 1000
    for answer, row in zip(answers, scores.to_dict("records"), strict=True):
        whole = lm.tokenizer(f"def add(numbers):\n    {answer}")["input_ids"]
        before = lm.tokenizer("def add(numbers):\n")["input_ids"]
        assert row["generator_logprob"] == pytest.approx(plain(lm, before, whole[len(before) :]), rel=1e-5)
        assert row["typicality"] == pytest.approx(plain(lm, [1], whole[len(before) :]), rel=1e-5)
