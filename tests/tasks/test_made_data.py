"""Arithmetic chains and programs: what their files hold, checked by other means than those that made them."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType

import pytest

from accord.tasks import task


def load_script(name: str) -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


chains, programs = load_script("make_arithmetic_chains"), load_script("make_programs")
SOURCE = programs.read_source()
CHAINS, PROGRAMS = (
    [json.loads(line) for line in script.DATA.read_text(encoding="utf-8").splitlines()] for script in (chains, programs)
)


def render(script: ModuleType) -> str:
    return script.render() if script is chains else script.render(SOURCE)


@pytest.mark.parametrize("script", [chains, programs])
def test_file_is_what_the_script_gives_and_a_stale_one_is_told(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = script.DATA.read_bytes().decode("ascii")
    made = render(script)
    assert made == text
    monkeypatch.setattr(script, "render", lambda *_: made)
    monkeypatch.setattr(sys, "argv", ["make.py", "--check"])
    assert script.main() == 0
    stale = tmp_path / script.DATA.name
    stale.write_text(text.replace("true", "false", 1))
    monkeypatch.setattr(script, "DATA", stale)
    assert script.main() == 1
    assert "out of date" in capsys.readouterr().err


OPERATIONS = {"add": "+", "adding": "+", "plus": "+", "subtract": "-", "subtracting": "-", "minus": "-"}
OPERATIONS |= {"multiply by": "*", "multiplying by": "*", "times": "*"}


def asked(question: str) -> tuple[int, list[tuple[str, int]]]:
    """The number and the operations of a question."""
    start = re.match(r"Start with (\d+), ", question)
    assert start
    parts = re.findall(r"(add|subtract|multiply by) (\d+)", question)
    return int(start[1]), [(OPERATIONS[name], int(number)) for name, number in parts]


def done(answer: str) -> tuple[list[tuple[str, int, int]], int, bool]:
    """The operations of a solution with their results, its last number, and whether each result is computed rightly."""
    signs = re.findall(r"(\d+) ([-+*]) (\d+) = (\d+)", answer)
    steps = [(sign, int(operand), int(result)) for _, sign, operand, result in signs]
    if not steps:
        told = r"(plus|minus|times|adding|subtracting|multiplying by) (\d+) (?:is|gives) (\d+)"
        steps = [(OPERATIONS[name], int(operand), int(result)) for name, operand, result in re.findall(told, answer)]
    numbers = [int(number) for number in re.findall(r"\d+", answer)]
    start = numbers[1] if answer.startswith("1)") else numbers[0]
    sound = True
    for sign, operand, result in steps:
        sound &= {"+": start + operand, "-": start - operand, "*": start * operand}[sign] == result
        start = result
    return steps, numbers[-1], sound


def test_right_chains_are_computed_as_asked_and_wrong_ones_come_to_other_results() -> None:
    for row in CHAINS:
        number, operations = asked(row["question"])
        for sign, operand in operations:
            number = {"+": number + operand, "-": number - operand, "*": number * operand}[sign]
        steps, last, sound = done(row["answer"])
        assert len(steps) == len(operations) == 3 and last == steps[-1][2]
        as_asked = [step[:2] for step in steps] == operations
        assert row["correct"] == (last == number) == (as_asked and sound), row
        if not row["correct"]:
            assert sound == (row["strategy"] != "slip") and as_asked == (row["strategy"] == "slip")


def test_style_tells_nothing_of_a_chain() -> None:
    by_question = defaultdict(list)
    for row in CHAINS:
        style = re.sub(r"[-+*]|\d+|plus|minus|times|adding|subtracting|multiplying by", "#", row["answer"])
        by_question[row["question"]].append((row["correct"], style))
    assert len(by_question) == chains.QUESTIONS
    for rows in by_question.values():
        assert Counter(correct for correct, _ in rows) == {True: 4, False: 4}
        assert Counter(style for correct, style in rows if correct) == Counter(
            style for correct, style in rows if not correct
        )


def test_programs_are_right_where_they_pass_the_tests() -> None:
    functions = {f'def {f.head}:\n    """{f.doc}"""': f for f in SOURCE}
    by_prompt = defaultdict(list)
    for row in PROGRAMS:
        function = functions[row["prompt"]]
        assert programs.passes(function, row["response"]) == row["correct"], row
        by_prompt[row["prompt"]].append(row)
    assert by_prompt.keys() == functions.keys()
    for rows in by_prompt.values():
        assert len({row["response"] for row in rows}) == len(rows) >= 6
        assert 3 <= sum(row["correct"] for row in rows) <= len(rows) - 3


def test_a_body_without_an_end_and_one_that_fails_are_wrong() -> None:
    total = SOURCE[0]
    assert programs.passes(total, "    return sum(numbers, 0)")
    assert not programs.passes(total, "    while True:\n        pass")
    assert not programs.passes(total, "    return numbers[99]")
    assert not programs.passes(SOURCE[8], "    return int(numbers == sorted(numbers))")  # 1 is not True
    wrong = total._replace(bodies=[*total.bodies, "return 0"])
    with pytest.raises(programs.SourceError, match=r"total\(numbers\): this body fails its tests"):
        programs.make_rows([wrong])


@pytest.mark.parametrize(("name", "prompts"), [("arithmetic-chains", 120), ("programs", 32)])
def test_the_tasks_ask_whole_answers_of_prompts_that_stay_on_one_side(name: str, prompts: int) -> None:
    sides = [task(name, split=split) for split in ("train", "test")]
    asked = [{made.generator.prompt(item) for item in made.items} for made in sides]
    assert not asked[0] & asked[1] and len(asked[0] | asked[1]) == prompts
    assert {made.answer_score for made in sides} == {"whole"}
    assert sides[0].settings["skipped"] == {"duplicates": 0, "worked examples": 0}
    assert len(sides[0].items) + len(sides[1].items) == len(CHAINS if prompts == 120 else PROGRAMS)
    sides[0].check_negated("negated")
    if name == "programs":
        assert all(item.answer.startswith("    ") for item in sides[1].items)
