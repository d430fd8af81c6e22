"""Prompts as a reader sees them: every task, phrasing and number of shots, and a few word for word."""

import itertools
import json
import re

import pytest

from accord.tasks import TASKS, task
from accord.tasks.base import Item, Template

ROWS = {
    "hypernymy": "ice axes\tmusical instrument\tno\tlow\n",
    "substitution": json.dumps(
        [{"context": "He was glad. ", "target": "glad", "substitutes": [["happy", 9], ["odd", 0]]}]
    ),
    "next-word": json.dumps({"context": "“We’re off,”\n\nsaid ", "final_word": "Tom", "correct": "Yes"}),
    "trivia": json.dumps({"question": "Who won? ", "answers": ["Ann "], "correct": "No"}),
    "hypernymy-members": "ice axes\tmusical instrument\tno\tlow\n",
    "responses": json.dumps({"prompt": "Name one tree. ", "response": " Oak.\n", "correct": "Yes"}),
    "arithmetic-chains": json.dumps({"question": "Start with 9?", "answer": "9 + 1 = 10.\nIt is 10.", "correct": "No"}),
    "programs": json.dumps({"prompt": "def f(x):", "response": "    y = x\n    return y", "correct": "Yes"}),
    "personas": json.dumps({"persona": "sails alone", "statement": "I love crowds.", "correct": "No"}),
}
CASES = [
    (name, generator, validator, shots)
    for name, definition in TASKS.items()
    for generator, validator in itertools.zip_longest(
        definition.generators, definition.validators, fillvalue=next(iter(definition.generators))
    )
    for shots in ("zero", "few")
]


def prompts(folder, name, **choices):
    path = folder / "data"
    path.write_text(ROWS[name], encoding="utf-8")
    made = task(name, data=path, split="all", **choices)
    return made, *made.prompts(made.items[0])


@pytest.mark.parametrize(("name", "generator", "validator", "shots"), CASES)
def test_every_prompt_is_sane_text(tmp_path, name, generator, validator, shots):
    made, generated, validated = prompts(
        tmp_path,
        name,
        generator_phrasing=generator,
        validator_phrasing=validator,
        generator_shots=shots,
        validator_shots=shots,
    )
    for prompt in (generated, validated):
        assert prompt == prompt.strip()
        assert "{" not in prompt
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|\S  | \n", prompt)
    assert validated.endswith("Answer:")
    assert made.items[0].answer in validated
    blocks = 5 if shots == "few" else 1
    assert [len(form.examples) + 1 for form in (made.generator, made.validator)] == [blocks, blocks]
    assert made.prompts(made.items[-1])[0].startswith(generated.rsplit("\n\n", 1)[0][:10])


@pytest.mark.parametrize("name", TASKS)
def test_worked_examples_are_balanced_mixed_and_right(name):
    definition = TASKS[name]
    labels = [shot.gold for shot in definition.validator_shots]
    assert sum(labels) == len(labels) / 2
    assert labels not in (
        [True, False] * 2,
        [False, True] * 2,
        [True, True, False, False],
        [False] * 2 + [True] * 2,
    )
    assert all(shot.gold for shot in definition.generator_shots)
    right = {next(iter(shot.fields.values())): shot.answer for shot in definition.generator_shots}
    assert {next(iter(shot.fields.values())) for shot in definition.validator_shots} == right.keys()
    for shot in definition.validator_shots:
        assert shot.gold == (shot.answer == right[next(iter(shot.fields.values()))])
        assert shot.answer in shot.fields.values()


@pytest.mark.parametrize("name", TASKS)
def test_worked_examples_are_answered_by_what_is_right(tmp_path, name):
    made, _, validated = prompts(tmp_path, name, validator_shots="few")
    right = {shot.answer for shot in TASKS[name].generator_shots}
    for shot, example in zip(TASKS[name].validator_shots, made.validator.examples, strict=True):
        assert example.answer == ("Yes" if shot.answer in right and shot.gold else "No")
        assert f"{example.prompt} {example.answer}" in validated


def test_zero_shot_hypernymy_reads_so(tmp_path):
    _, generated, validated = prompts(tmp_path, "hypernymy", validator_shots="zero")
    assert generated == "Complete the sentence: ice axes are a kind of"
    assert validated == "Do you think ice axes are a kind of musical instrument? Answer:"


def test_a_sentence_begins_with_a_capital(tmp_path):
    assert prompts(tmp_path, "hypernymy", generator_phrasing="plain")[1] == "Ice axes are a kind of"


def test_few_shot_hypernymy_reads_so(tmp_path):
    _, generated, validated = prompts(tmp_path, "hypernymy", generator_shots="few", generator_phrasing="plain")
    assert generated == (
        "Mortgages are a kind of loan\n\nIntegers are a kind of number\n\nTariffs are a kind of tax\n\n"
        "Typhoons are a kind of storm\n\nIce axes are a kind of"
    )
    assert validated == (
        "Do you think mortgages are a kind of loan? Answer: Yes\n\n"
        "Do you think integers are a kind of tax? Answer: No\n\n"
        "Do you think tariffs are a kind of number? Answer: No\n\n"
        "Do you think typhoons are a kind of storm? Answer: Yes\n\n"
        "Do you think ice axes are a kind of musical instrument? Answer:"
    )


def test_no_word_of_a_worked_example_is_in_the_built_in_data():
    made = task("hypernymy", split="all")
    assert made.settings["skipped"]["worked examples"] == 0
    shots = TASKS["hypernymy"].validator_shots
    assert not {i.answer for i in made.items} & {shot.answer for shot in shots}
    assert not {i.fields["noun1"] for i in made.items} & {shot.fields["noun1"] for shot in shots}


def test_the_other_tasks_read_so(tmp_path):
    def zero(name):
        return prompts(tmp_path, name, validator_shots="zero")[1:]

    assert zero("substitution")[0] == 'Text: He was *glad*.\nIn this text, the word "glad" is synonymous with'
    assert re.fullmatch(
        r"Text: He was \*glad\*\.\n"
        r'In this text, is the word "glad" synonymous with "(happy|odd)"\? Answer:',
        zero("substitution")[1],
    )
    assert zero("next-word") == (
        "What word is most likely to come next in the following text?\nText: “We’re off,”\n\nsaid",
        'Text: “We’re off,”\n\nsaid\nIs "Tom" the most likely next word of this text? Answer:',
    )
    assert zero("trivia") == (
        "Question: Who won?\nAnswer:",
        'Is "Ann" the correct answer to the question "Who won?"? Answer:',
    )


def test_braces_in_the_data_and_doubled_ones_in_a_template_are_text():
    fields = {"a": "{b}", "b": "x"}
    assert Template.parse("{{{a}}} {B}").fill(fields) == "{{b}} X"
    assert Item(fields, "x", True).fields is fields


def test_a_whole_answer_has_its_own_join_and_the_validator_keeps_the_usual_one(tmp_path):
    made, generated, validated = prompts(tmp_path, "responses", generator_shots="few")
    right = TASKS["responses"].generator_shots[0]
    assert generated.startswith(f"{right.fields['prompt']}\nviolet\nindigo\nturquoise\n\n")
    assert (made.generator.join, made.validator.join) == ("\n", " ")
    assert "Is this response right? Answer: Yes\n\n" in validated
    assert made.settings["answer_join"] == "\n" and "join" not in made.settings
    assert made.generator.prompt(made.items[0], negated=True).endswith("Give an incorrect response.\nName one tree.")


@pytest.mark.parametrize(
    "name", ["hypernymy-members", "responses", "personas", "trivia", "arithmetic-chains", "programs"]
)
def test_tasks_with_many_answers_have_a_negated_wording_of_each_phrasing(name):
    definition = TASKS[name]
    assert definition.negated.keys() == definition.generators.keys()
    for phrasing, text in definition.negated.items():
        assert Template.parse(text).names == Template.parse(definition.generators[phrasing]).names
        assert text != definition.generators[phrasing]
