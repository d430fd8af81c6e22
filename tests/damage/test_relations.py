"""The built-in relations: enough facts, each once, right answers right for one side only, worked examples apart."""

from collections import Counter

import pytest

from accord.damage import RELATIONS, relation_tasks
from accord.tasks import Task

TASKS = {task.name: task for task in relation_tasks()}
NAMES = ["part-whole", "synonym", "antonym", "capital-country", "verb-object", "plural", "colour"]


@pytest.fixture(params=NAMES)
def task(request: pytest.FixtureRequest) -> Task:
    return TASKS[request.param]


def test_all_relations_are_there() -> None:
    assert list(TASKS) == NAMES == [relation.name for relation in RELATIONS]


def test_every_fact_has_a_right_and_a_wrong_answer(task: Task) -> None:
    right, wrong = task.items[::2], task.items[1::2]
    assert len(right) == len(wrong) >= 30
    assert all(item.gold for item in right) and not any(item.gold for item in wrong)
    for true, false in zip(right, wrong, strict=True):
        assert true.fields["subject"] == false.fields["subject"]
        assert task.prompts(true)[0] == task.prompts(false)[0]
        assert task.prompts(true)[1] != task.prompts(false)[1]
        assert true.answer != false.answer


def test_no_subject_twice_and_no_wrong_answer_that_is_right(task: Task) -> None:
    subjects = Counter(item.fields["subject"] for item in task.items[::2])
    assert max(subjects.values()) == 1
    right = {(item.fields["subject"], item.answer) for item in task.items if item.gold}
    right |= {(b, a) for a, b in right} if task.name in ("synonym", "antonym") else set()
    assert not right & {(item.fields["subject"], item.answer) for item in task.items if not item.gold}


def test_words_are_plain(task: Task) -> None:
    for item in task.items:
        for word in (item.fields["subject"], item.answer):
            assert word.isascii() and word.replace(" ", "").isalpha() and word == word.strip()
            assert len(word.split()) <= 3


def test_worked_examples_are_balanced_and_not_asked(task: Task) -> None:
    examples = next(relation for relation in RELATIONS if relation.name == task.name).examples
    assert sum(gold for *_, gold in examples) * 2 == len(examples) == len(task.validator.examples)
    shown = {subject.lower() for subject, *_ in examples}
    assert not shown & {item.fields["subject"].lower() for item in task.items}
    assert task.validator.shown[0].endswith("Answer: Yes")


def test_prompts_read_as_they_should() -> None:
    france = TASKS["capital-country"].items[0]
    generator, validator = TASKS["capital-country"].prompts(france)
    assert (generator, france.answer) == ("The capital of France is", "Paris")
    assert validator.split("\n\n")[-1] == "Is Paris the capital of France? Answer:"
    assert validator.split("\n\n")[0] == "Is Santiago the capital of Chile? Answer: Yes"
    wheels = TASKS["part-whole"].items[1]
    assert TASKS["part-whole"].prompts(wheels)[0] == "Wheels are parts of"
    assert TASKS["part-whole"].prompts(wheels)[1].endswith("Are wheels parts of trees? Answer:")


def test_fewer_facts_are_the_first_ones() -> None:
    assert relation_tasks(0) == ()
    for few, whole in zip(relation_tasks(3), relation_tasks(), strict=True):
        assert few.items == whole.items[:6]
        assert few.settings != whole.settings
