"""Tasks with many answers to one prompt: their files, whole answers, splits and limits that keep them together."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.tasks import CustomTask, task
from accord.tasks.base import Item
from accord.tasks.splits import AT_ONCE, by_unit, prompt_by_prompt, random_sides, same_prompt

BODY = "    total = 0\n    for n in numbers:\n        total += n\n\n    return total"


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_answers_of_several_lines_are_whole_and_keep_their_indentation(tmp_path):
    rows = [
        {"prompt": "def add(numbers):", "response": f"\n{BODY}\n", "correct": True, "strategy": "by hand"},
        {"prompt": "def add(numbers):", "response": " Paris ", "correct": False, "strategy": "mutant"},
    ]
    items = task("responses", data=write(tmp_path / "r.jsonl", rows), split="all").items
    assert {(item.answer, item.gold, item.group) for item in items} == {
        (BODY, True, "by hand"),
        ("Paris", False, "mutant"),
    }
    assert {item.fields["response"] for item in items} == {BODY, "Paris"}


def test_questions_have_one_answer_a_row_and_how_it_was_made(tmp_path):
    rows = [
        {"question": "2 + 2?", "answer": answer, "correct": int(answer == "4"), "strategy": how}
        for answer, how in (("4", "right"), ("5", "off by one"), ("22", "joined"))
    ]
    made = task("trivia", data=write(tmp_path / "q.jsonl", rows), split="all")
    assert {(i.answer, i.gold, i.group) for i in made.items} == {
        ("4", True, "right"),
        ("5", False, "off by one"),
        ("22", False, "joined"),
    }
    assert len({made.generator.prompt(item) for item in made.items}) == 1


def test_members_of_a_category_from_either_file(tmp_path):
    rows = [
        {"category": "tool", "member": member, "label": label, "similarity": similarity}
        for member, label, similarity in (("hammers", "yes", "high"), ("shovels", 1, "low"), ("elms", "No", "high"))
    ]
    lines = tmp_path / "m.jsonl"
    pairs = tmp_path / "pairs"
    pairs.write_text("hammers\ttool\tyes\thigh\nshovels\ttool\tyes\tlow\nelms\ttool\tno\thigh\n")
    made = [task("hypernymy-members", data=path, split="all") for path in (write(lines, rows), pairs)]
    assert made[0].items == made[1].items
    assert made[0].prompts(made[0].items[0])[0] == "Kinds of tool include"
    assert {(i.answer, i.gold, i.similarity) for i in made[0].items} == {
        ("hammers", True, "high"),
        ("shovels", True, "low"),
        ("elms", False, "high"),
    }


@pytest.mark.parametrize("gold", ["correct", "label"])
def test_statements_of_personas(tmp_path, gold):
    rows = [{"persona": "sails", "statement": text, gold: text == "Wind!"} for text in ("Wind!", "I get seasick.")]
    made = task("personas", data=write(tmp_path / "p.jsonl", rows), split="all")
    assert {(i.answer, i.gold, i.group) for i in made.items} == {
        ("Wind!", True, "sails"),
        ("I get seasick.", False, "sails"),
    }


def test_the_built_in_members_are_one_prompt_a_category_on_one_side():
    sides = [task("hypernymy-members", split=split) for split in ("train", "test")]
    prompts = [{made.generator.prompt(item) for item in made.items} for made in sides]
    assert not prompts[0] & prompts[1] and len(prompts[0] | prompts[1]) == 76
    whole = task("hypernymy-members", split="all")
    assert {(i.fields["member"], i.fields["category"], i.gold) for i in whole.items} == {
        (i.fields["noun1"], i.fields["noun2"], i.gold) for i in task("hypernymy", split="all").items
    }


def test_a_limit_takes_prompts_that_can_be_compared():
    for limit in (5, 100, 400):
        items = task("hypernymy-members", limit=limit).items
        counts = Counter(item.group for item in items)
        assert limit - AT_ONCE < len(items) <= limit
        assert max(counts.values()) - min(counts.values()) <= AT_ONCE
        if limit > AT_ONCE:
            assert len(counts) == min(19, limit // AT_ONCE)
            assert all(0 < sum(i.gold for i in items if i.group == name) < n for name, n in counts.items())


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=12), limit=st.none() | st.integers(1, 80))
def test_prompt_after_prompt_every_item_once_within_the_limit(sizes, limit):
    items = [Item({}, f"{p}-{n}", n % 2 == 0, str(p)) for p, size in enumerate(sizes) for n in range(size)]
    prompts = by_unit(items, lambda item: item.group)
    chosen = prompt_by_prompt(prompts, limit, seed=3)
    assert len(set(map(str, chosen))) == len(chosen) <= (limit or len(items))
    if limit is None or limit >= len(items):
        assert sorted(map(str, chosen)) == sorted(map(str, items))
    assert chosen == prompt_by_prompt(prompts, limit, seed=3)


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 6), st.none() | st.integers(0, 4), st.booleans()), min_size=2, max_size=40),
    seed=st.integers(0, 9),
)
def test_no_question_and_no_prompt_of_the_data_is_on_both_sides(rows, seed):
    items = [
        Item({"q": f"q{q}"}, f"a{i}", gold, prompt=None if p is None else f"p{p}")
        for i, (q, p, gold) in enumerate(rows)
    ]
    unit = same_prompt(items, lambda item: item.fields["q"])
    sides = random_sides(items, unit, 0.3, seed)
    for key in (lambda item: item.fields["q"], lambda item: item.prompt):
        both = {key(item) for item in sides.train} & {key(item) for item in sides.test}
        assert both <= {None}
    assert len(sides.train) + len(sides.test) == len(items)


def test_a_task_of_your_own_may_say_which_rows_answer_one_prompt(tmp_path):
    rows = [
        {"poet": f"poet {p}", "line": f"line {p}-{n}", "right": n < 3, "theme": f"theme {p // 2}"}
        for p in range(12)
        for n in range(6)
    ]
    table = {
        "data": write(tmp_path / "poets.jsonl", rows),
        "generator": "{poet} wrote:",
        "validator": "Did {poet} write {line}? Answer:",
        "answer": "line",
        "gold": "right",
        "prompt": "theme",
        "answer_join": "\n",
    }
    sides = [task(table, split=split, answer_score="whole") for split in ("train", "test")]
    themes = [{item.prompt for item in made.items} for made in sides]
    assert not themes[0] & themes[1] and len(themes[0] | themes[1]) == 6
    assert sides[0].settings["columns"]["prompt"] == "theme"
    assert (sides[0].generator.join, sides[0].validator.join) == ("\n", " ")
    other = task({key: value for key, value in table.items() if key != "prompt"})
    assert "prompt" not in other.settings["columns"] and other.items[0].prompt is None
    assert CustomTask.model_fields["prompt"].description
