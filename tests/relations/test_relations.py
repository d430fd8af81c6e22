"""The relations: enough facts, each once, no wrong answer that is right, and two sides that share nothing."""

from collections import Counter

import pytest

from accord.relations import RELATIONS, Relation, relation_tasks
from accord.repair.learned import marks
from accord.tasks import Item, Task
from accord.tasks import task as make_task

SIDES = ("learned", "judged")
WORDINGS = 3
FACTS = 40
SYMMETRIC = ("synonym", "antonym")
TASKS: dict[str, list[Task]] = {relation.name: [] for relation in RELATIONS}
for side in SIDES:
    for task in relation_tasks(side):
        TASKS[str(task.items[0].group)].append(task)

both = pytest.mark.parametrize("relation", RELATIONS, ids=[relation.name for relation in RELATIONS])


def items_of(relation: Relation) -> list[Item]:
    """Each once, in pairs of right and wrong."""
    return list(
        {(item.fields["subject"], item.answer): item for t in TASKS[relation.name] for item in t.items}.values()
    )


def test_half_of_the_relations_are_judged_on_only() -> None:
    sides = [{str(task.items[0].group) for task in relation_tasks(side)} for side in SIDES]
    assert [len(side) for side in sides] == [14, 14] and not sides[0] & sides[1]
    learned, judged = ({mark for task in relation_tasks(side) for mark in marks(task)} for side in SIDES)
    assert len(learned) == len(judged) == 14 * FACTS * 2
    assert not learned & judged
    questions = [{task.validator.template.text for task in relation_tasks(side)} for side in SIDES]
    # Whether a country is in a continent and a city in a country may be asked in the same words.
    assert questions[0] & questions[1] == {"Is it true that {subject} is in {other}? Answer:"}


def test_no_item_is_one_of_hypernymy() -> None:
    mine = {mark for side in SIDES for task in relation_tasks(side) for mark in marks(task)}
    assert not mine & marks(make_task("hypernymy", split="all"))


@both
def test_every_fact_has_a_right_and_a_wrong_answer(relation: Relation) -> None:
    tasks = TASKS[relation.name]
    assert [task.name for task in tasks] == [f"{relation.name}-{i + 1}" for i in range(WORDINGS)]
    assert len(set(relation.validators)) == len(relation.validators) == WORDINGS
    for task in tasks:
        right, wrong = task.items[::2], task.items[1::2]
        assert len(right) == len(wrong) == FACTS if relation.side == "learned" else len(right) in (13, 14)
        assert all(item.gold for item in right) and not any(item.gold for item in wrong)
        for true, false in zip(right, wrong, strict=True):
            assert true.fields["subject"] == false.fields["subject"] and true.answer != false.answer
            assert task.prompts(true)[0] == task.prompts(false)[0]
            assert task.prompts(true)[1] != task.prompts(false)[1]


@both
def test_every_answer_is_right_as_often_as_it_is_wrong(relation: Relation) -> None:
    items = items_of(relation)
    assert Counter(item.answer for item in items if item.gold) == Counter(i.answer for i in items if not i.gold)
    assert len(items) == 2 * FACTS


@both
def test_no_subject_twice_and_no_wrong_answer_that_is_right(relation: Relation) -> None:
    items = items_of(relation)
    assert set(Counter(item.fields["subject"] for item in items if item.gold).values()) == {1}
    right = {(item.fields["subject"], item.answer) for item in items if item.gold}
    right |= {(b, a) for a, b in right} if relation.name in SYMMETRIC else set()
    assert not right & {(item.fields["subject"], item.answer) for item in items if not item.gold}


@both
def test_words_are_plain(relation: Relation) -> None:
    for item in items_of(relation):
        for word in (item.fields["subject"], item.answer):
            assert word.isascii() and word.replace(" ", "").replace("-", "").isalpha() and word == word.strip()
            assert len(word.split()) <= 6


@both
def test_worked_examples_are_balanced_and_not_asked(relation: Relation) -> None:
    assert sum(gold for *_, gold in relation.examples) * 2 == len(relation.examples) == 4
    shown = {subject.casefold() for subject, *_ in relation.examples}
    assert not shown & {item.fields["subject"].casefold() for item in items_of(relation)}
    for task in TASKS[relation.name]:
        assert len(task.validator.examples) == 4 and task.validator.shown[0].endswith("Answer: Yes")


def test_prompts_read_as_they_should() -> None:
    tasks = {task.name: task for task in relation_tasks("judged")}
    capitals = tasks["capital-country-1"]
    poland = next(item for item in capitals.items if item.fields["subject"] == "Poland" and item.gold)
    generator, validator = capitals.prompts(poland)
    assert (generator, poland.answer) == ("The capital of Poland is", "Warsaw")
    assert validator.split("\n\n")[-1] == "Is Warsaw the capital of Poland? Answer:"
    assert validator.split("\n\n")[0] == "Is Santiago the capital of Chile? Answer: Yes"
    sound = next(item for item in tasks["sound-3"].items if item.fields["subject"] == "crickets" and item.gold)
    assert tasks["sound-3"].prompts(sound)[0] == "To make their sound, crickets"
    assert tasks["sound-3"].prompts(sound)[1].endswith("Is it true that crickets chirp? Answer:")


def test_fewer_facts_are_the_same_in_all_relations() -> None:
    assert relation_tasks("judged", 0) == ()
    for few, whole in zip(relation_tasks("judged", 7), relation_tasks("judged"), strict=True):
        assert few.items == whole.items[: len(few.items)] and 4 <= len(few.items) <= 6
        assert few.settings != whole.settings
    assert sum(len(task.items) for task in relation_tasks("judged", 22)) == 14 * 22 * 2
    assert len(relation_tasks("judged", 1)) == 14
