"""One question in both forms, beside what the rooms of accord measure for the same item among others."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import accord
from accord.errors import AccordError
from accord.explore.asking import (
    LONGEST,
    answer_field,
    ask,
    input_fields,
    question_of_fields,
    question_of_prompts,
    settled,
)
from accord.explore.wording import said_of
from accord.gap.questions import contexts_of
from accord.lm import Backbone
from accord.lm.next_tokens import next_tokens
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def lm():
    return Backbone(tiny_model(), tiny_tokenizer(), name="tiny")


@pytest.fixture(scope="module")
def task(lm):
    return settled(lm, accord.task("hypernymy", limit=12))


def test_an_item_alone_has_the_scores_that_it_has_among_others(lm, task):
    whole = accord.measure_gap(lm, task, layers=True, resamples=0)
    for number in (0, 7):
        item = task.items[number]
        both = ask(lm, question_of_fields(task, item.fields))
        row = whole.scores.iloc[number]
        for name in ("generator_logodds", "generator_logprob", "validator_logodds"):
            assert getattr(both, name) == pytest.approx(row[name], abs=1e-4)
        assert both.generator_rank == row["generator_rank"] and both.answer == item.answer
        assert both.mass == pytest.approx(row["yes_no_mass"], abs=1e-4)
        layers = whole.layers[whole.layers["item"] == number].reset_index(drop=True)
        np.testing.assert_allclose(both.layers.to_numpy(), layers[both.layers.columns].to_numpy(), atol=2e-4)


def test_prompts_given_whole_are_the_same_question(lm, task):
    item = task.items[3]
    generator, validator = task.prompts(item)
    given = ask(lm, question_of_prompts(generator, item.answer, validator), layers=False)
    own = ask(lm, question_of_fields(task, item.fields), layers=False)
    assert given.validator_logodds == pytest.approx(own.validator_logodds, abs=1e-5)
    assert given.next == own.next and given.layers is None
    turned = ask(lm, question_of_prompts(generator, item.answer, validator, yes=["No"], no=["Yes"]), layers=False)
    assert turned.validator_logodds == pytest.approx(-given.validator_logodds, abs=1e-5)


def test_next_tokens_are_those_of_the_model_itself(lm, task):
    question = question_of_fields(task, task.items[0].fields)
    contexts = [contexts_of(lm, question, form)[0] for form in ("generator", "validator", "generator")]
    found = next_tokens(lm, contexts, 5)
    assert found[0] == found[2]
    both = ask(lm, question, layers=False, likely=5)
    for form, likely in zip(("generator", "validator"), found, strict=False):
        assert [p for _, p in both.next[form]] == pytest.approx([p for _, p in likely], abs=1e-5)
    for context, likely in zip(contexts, found, strict=True):
        with torch.no_grad():
            wanted = lm.model(torch.tensor([context])).logits[0, -1].softmax(-1).topk(5)
        assert [token for token, _ in likely] == wanted.indices.tolist()
        assert [p for _, p in likely] == pytest.approx(wanted.values.tolist(), abs=1e-5)


def test_fields_and_the_field_of_the_answer(task):
    assert input_fields(task) == ("noun1", "noun2") and answer_field(task) == "noun2"
    assert question_of_fields(task, {"noun1": "bees", "noun2": "bird"}, answer="food").items[0].answer == "food"
    plain = accord.task("hypernymy", generator_phrasing="plain", limit=2)  # {Noun1}
    assert input_fields(plain) == ("noun1", "noun2")
    blind = replace(task, items=(replace(task.items[0], answer="else"), *task.items))
    assert answer_field(blind) is None


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"noun1": "bees", "noun2": " "}, "empty place"),
        ({"noun1": "bees"}, "empty place"),
        ({"noun1": "b" * (LONGEST + 1), "noun2": "bird"}, "too long"),
        ({"noun1": "\ud800", "noun2": "bird"}, "whole characters"),
    ],
)
def test_what_cannot_be_asked_is_refused(task, fields, wanted):
    with pytest.raises(AccordError, match=wanted):
        question_of_fields(task, fields)


def test_prompts_that_cannot_be_asked_are_refused(lm, task):
    with pytest.raises(AccordError, match="no text in the answer"):
        question_of_prompts("a", " ", "b")
    with pytest.raises(AccordError, match="stands for two labels"):
        question_of_prompts("a", "b", "c", yes=["Yes"], no=["Yes"])
    with pytest.raises(AccordError, match="one question is asked at a time"):
        ask(lm, task)


def test_a_validator_that_chooses_tells_what_it_chooses(lm, tmp_path):
    (tmp_path / "moods.csv").write_text("text,mood\nfood,Yes\nbird,No\n")
    table = {"generator": "a {text} is", "validator": "a {text} is", "answer": "mood", "gold": "mood"}
    task = accord.task({**table, "data": str(tmp_path / "moods.csv"), "labels": ["Yes", "No"]}, split="all")
    both = ask(lm, question_of_fields(task, {"text": "food"}, answer="Yes", label="No"), layers=False)
    assert both.choice in ("Yes", "No") and (both.validator_logodds > 0) == (both.choice == "No")
    assert f"chooses “{both.choice}”" in said_of(both)
    with pytest.raises(AccordError, match="no such label"):
        question_of_fields(task, {"text": "food"}, answer="Yes", label="Maybe")


def test_the_sentence_says_what_was_found(lm, task):
    both = ask(lm, question_of_fields(task, task.items[0].fields), layers=False)
    first = replace(both, generator_rank=1, generator_logodds=2.0, validator_logodds=-0.84, mass=0.9, answer="bird")
    assert said_of(first) == (
        "Completing, “bird” is its first choice (log-odds 2.0). Asked, it denies it (log-odds of yes −0.8)."
    )
    assert "choice number 1,200" in said_of(replace(first, generator_rank=1200))
    assert "says little" in said_of(replace(first, mass=0.3)) and "affirms" in said_of(
        replace(first, validator_logodds=1.0)
    )


class _Two:
    """Two models by name, as a subject has them."""

    def __init__(self, lm):
        self.lm = lm

    model_name = "tiny"

    def model(self, name):
        return self.lm


def test_models_side_by_side_are_in_one_figure(lm, task):
    pytest.importorskip("nicegui", reason="of the explorer (pip install 'accord[explore]')")
    from accord.explore.answers import shown_answers

    question = question_of_fields(task, task.items[0].fields)
    found = shown_answers(_Two(lm), question, ["base", "<b>repair"], "code", "key")
    assert len(found.both) == 2 and found.svg.startswith("<svg") and "<b>" not in found.svg
    assert found.alt.count("completing") == 2


@pytest.mark.parametrize("name", ["hypernymy", "hypernymy-members", "arithmetic-chains", "programs"])
def test_a_task_is_asked_by_its_fields_as_it_asks_itself_and_so_are_the_copied_lines(lm, name, monkeypatch):
    pytest.importorskip("nicegui", reason="of the explorer (pip install 'accord[explore]')")
    from accord.explore.ask_room import Asked, as_python, first_texts, item_texts, question_of
    from accord.explore.subject import BASE, Subject
    from accord.lm.config import BackboneSection
    from accord.tasks.config import QuestionSection

    section = QuestionSection(task=name, validator_shots="zero")
    subject = Subject(BackboneSection(model="tiny"), {name: section}, limit=12)
    subject._kept["model", BASE] = lm
    task = subject.task(name)
    first = next(item for item in task.items if item.gold)
    for item, texts in ((first, first_texts(subject, name)), (task.items[5], item_texts(task, task.items[5]))):
        asked = Asked(name, texts, [BASE])
        question = question_of(subject, asked)
        assert question.prompts(question.items[0]) == task.prompts(item) and question.items[0].answer == item.answer
        monkeypatch.setattr(accord, "load", lambda place: lm if place == "tiny" else pytest.fail(place))
        *lines, last = as_python(subject, asked).splitlines()
        names = {}
        exec("\n".join(lines), names)
        assert eval(last, names).row() == ask(lm, question).row()


def test_a_field_may_be_called_as_the_page_calls_its_own(lm, tmp_path):
    pytest.importorskip("nicegui", reason="of the explorer (pip install 'accord[explore]')")
    from accord.explore.ask_room import Asked, first_texts, question_of

    (tmp_path / "rows.csv").write_text("answer,label,word,gold\nfood,bird,bee,1\nbird,food,bee,0\n")
    table = {"generator": "a {answer} {label} is a", "validator": "is a {answer} {label} a {word}?", "answer": "word"}
    subject = _One(accord.task({**table, "gold": "gold", "data": str(tmp_path / "rows.csv")}, split="all"))
    texts = first_texts(subject, "own")
    question = question_of(subject, Asked("own", {**texts, "answer": "kind"}, ["base"]))
    assert question.prompts(question.items[0]) == ("a kind bird is a", "is a kind bird a bee?")
    assert question.items[0].answer == "bee"


class _One:
    """A subject with one question."""

    def __init__(self, task):
        self.only = task

    def task(self, name):
        return self.only
