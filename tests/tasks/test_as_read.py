"""A form as a model reads it: as it stands, or as a conversation in the model's chat template."""

import hashlib
import tomllib
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from tests.tiny import tiny_tokenizer
from transformers import PreTrainedTokenizerBase

import accord
from accord.tasks import Task
from accord.tasks.as_read import Prompt, as_read, read_by
from accord.tasks.chat import Chat
from accord.tasks.examples import shots_as_toml

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="module")
def task() -> Task:
    return accord.task("hypernymy", limit=3)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerBase:
    made = tiny_tokenizer()
    made.chat_template = TEMPLATE
    return made


def test_worked_examples_are_turns_or_part_of_one_message(task: Task) -> None:
    form, item = task.validator, task.items[0]
    turns = [
        {"role": role, "content": said}
        for pair in form.examples
        for role, said in zip(("user", "assistant"), pair, strict=True)
    ]
    last = {"role": "user", "content": form.filled(item)}
    assert len(turns) == 8 and Chat().messages(form, item) == [*turns, last]
    system = {"role": "system", "content": "Be brief."}
    assert Chat(system="Be brief.").messages(form, item) == [system, *turns, last]
    assert Chat(turns=False).messages(form, item) == [{"role": "user", "content": form.prompt(item)}]
    for chat, said in ((Chat(), task.generator.filled), (Chat(turns=False), task.generator.prompt)):
        for negated in (False, True):
            assert chat.messages(task.generator, item, negated=negated)[-1]["content"] == said(item, negated=negated)
        assert said(item, negated=True) != said(item)
    assert Chat("s", {"a": 1}, False).settings == {"system": "s", "options": {"a": 1}, "turns": False}


@pytest.mark.parametrize("negated", [False, True])
def test_without_a_conversation_a_prompt_is_read_as_it_stands(
    negated: bool, task: Task, tokenizer: PreTrainedTokenizerBase
) -> None:
    form, item, lm = task.generator, task.items[0], SimpleNamespace(tokenizer=tokenizer)
    read = as_read(tokenizer, task, form, item, negated=negated)
    assert read == Prompt(form.prompt(item, negated=negated), form.join) and read.special and read.join == " "
    bos, *ids = tokenizer(f"{read.text} bird")["input_ids"]
    context, answer = read.answered(lm, "bird")
    assert bos == tokenizer.bos_token_id and (*context, *answer) == (bos, *ids) and context == read.context(lm)
    assert tokenizer.decode(answer) == " bird"


@pytest.mark.parametrize("space", ["", " "])
def test_a_conversation_is_written_by_the_template(space: str, task: Task, tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = "[{{ a }}]" + TEMPLATE.replace("{{ m.content }}", f"{space}{{{{ m.content }}}}")
    asked = replace(task, chat=Chat(system="Be brief.", options={"a": 1}))
    lm = SimpleNamespace(tokenizer=tokenizer)
    assert asked.chat is not None
    for form, negated in ((task.validator, False), (task.generator, True)):
        messages = asked.chat.messages(form, task.items[1], negated=negated)
        text = "[1]" + "".join(f"<{m['role']}>{space}{m['content']}" for m in messages) + "<assistant>"
        read = as_read(tokenizer, asked, form, task.items[1], negated=negated)
        assert read == Prompt(text, space, special=False)
        context, answer = read.answered(lm, "Yes")  # the template has written what is special
        assert [*context, *answer] == tokenizer(f"{text}{space}Yes", add_special_tokens=False)["input_ids"]
        assert context == read.context(lm) == tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_what_a_template_makes_of_the_first_item_is_among_the_settings(
    task: Task, tokenizer: PreTrainedTokenizerBase
) -> None:
    assert read_by(tokenizer, task) is task
    asked = replace(task, chat=Chat(options={"a": 1}))
    tokenizer.chat_template = TEMPLATE + "{{ a }}"
    assert read_by(tokenizer, (none := replace(asked, items=()))) is none
    forms = (as_read(tokenizer, asked, form, task.items[0]) for form in (task.generator, task.validator))
    content = "\0".join([tokenizer.chat_template, *(f"{read.text}\0{read.join}" for read in forms)])
    rendered = hashlib.sha256(content.encode()).hexdigest()
    chat: dict[str, Any] = {"system": None, "options": {"a": 1}, "turns": True, "rendered": rendered}
    assert read_by(tokenizer, asked) == replace(asked, settings={**task.settings, "chat": chat})


def test_worked_examples_are_written_as_a_task_file_has_them() -> None:
    shots = ({"a-b": "x", "a_b": 'he "said"', "ä": "ü\n", "c d": "y"}, {"a-b": "z"})
    text = shots_as_toml(SimpleNamespace(shots=shots))  # type: ignore[arg-type]
    assert tomllib.loads(text) == {"shots": list(shots)}
    assert text.startswith('shots = [\n  { a-b = "x", a_b = "he \\"said\\"", "ä" = "ü\\n", "c d" = "y" },\n')
