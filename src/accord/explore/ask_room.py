"""The room Ask: any question, in both forms, to the model and a repaired one side by side, while one types."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pprint import pformat
from typing import TYPE_CHECKING, Any

from nicegui import ui

from accord.explore.answers import ShownAnswers, draw_answers, shown_answers
from accord.explore.kit import box, words
from accord.explore.subject import BASE, Subject
from accord.explore.visitor import Board, Visitor
from accord.screen import visible

if TYPE_CHECKING:
    from accord.tasks import Item, Task

PROMPTS = "two whole prompts"
ANSWER, LABEL = "answer:", "label:"
"""Beside a task's fields, whose names have no colon: what else is asked with."""
_ALONE = "nothing"
_EXAMPLE = {
    "generator": "Bees are a kind of",
    "answer": "insect",
    "validator": "Are bees a kind of insect? Answer yes or no.\nAnswer:",
    "yes": "Yes",
    "no": "No",
}
_TYPED = "outlined dense debounce=300 stack-label"


@dataclass(frozen=True)
class Asked:
    """What stands in the fields, as text."""

    way: str
    texts: Mapping[str, str]
    models: Sequence[str]


class AskRoom:
    """Fields for a question, and a board with the answers.

    Args:
        beside: fixes the repaired model that is asked too; without it the visitor chooses.
    """

    def __init__(self, visitor: Visitor, name: str = "ask", beside: "Callable[[], str] | None" = None) -> None:
        self.visitor, self.name, self.beside = visitor, name, beside
        self.fields: dict[str, Any] = {}
        subject = visitor.subject
        with box("x-controls"):
            ways = [*subject.tasks, PROMPTS]
            self.way = ui.select(ways, value=ways[0], label="Ask by", on_change=self._changed_way).props(
                "outlined dense"
            )
            self.other: ui.select | None = None
            if beside is None and subject.repairs:
                choices = [_ALONE, *subject.repairs]
                self.other = ui.select(choices, value=_ALONE, label="Beside it", on_change=self.ask)
                self.other.props("outlined dense")
        self.forms = words("", "note")
        self.inputs = box("x-inputs")
        self.board = Board(visitor, name)

    async def begin(self) -> None:
        """Put the first question there, and ask it."""
        await self._changed_way()

    async def ask(self) -> None:
        """Ask what stands in the fields."""
        asked = Asked(
            str(self.way.value), {name: str(of.value or "") for name, of in self.fields.items()}, self._models()
        )
        subject = self.visitor.subject
        missing = [name for name in asked.models if not subject.is_loaded(name)]
        busy = f"Loading {', '.join(missing)}, once …" if missing else "Reading …"
        await self.board.show(
            lambda: answers_to(subject, asked, self.name), lambda found: draw_answers(self.visitor, found), busy
        )

    def _models(self) -> list[str]:
        if self.beside is not None:
            return [BASE, self.beside()]
        return [BASE] if self.other is None or self.other.value == _ALONE else [BASE, str(self.other.value)]

    async def _changed_way(self) -> None:
        way, subject = str(self.way.value), self.visitor.subject
        if way == PROMPTS:
            self._put(_EXAMPLE, long=("generator", "validator"))
            self.forms.set_text("")
            await self.ask()
            return
        busy = "Loading the model, once …" if not subject.is_loaded() else "Reading …"

        def place(found: tuple[dict[str, str], str]) -> None:
            texts, forms = found
            self._put(texts)
            self.forms.set_text(visible(forms))

        await self.board.show(lambda: (first_texts(subject, way), forms_of(subject, way)), place, busy)
        if self.fields:
            await self.ask()

    def _put(self, texts: Mapping[str, str], long: Sequence[str] = ()) -> None:
        """Fields with these texts in them."""
        labels = _PROMPTS if long else _LABELS
        self.inputs.clear()
        self.fields = {}
        with self.inputs:
            for name, text in texts.items():
                make = ui.textarea if name in long or "\n" in text or len(text) > 80 else ui.input
                field = make(labels.get(name, name), value=text, on_change=self.ask).props(_TYPED)
                field.props("autogrow" if make is ui.textarea else "")
                self.fields[name] = field.classes("x-long" if make is ui.textarea else "")


_PROMPTS = {
    "generator": "Prompt to complete",
    "answer": "Its answer",
    "validator": "Question for yes or no",
    "yes": "Words for yes, with commas",
    "no": "Words for no, with commas",
}
_LABELS = {ANSWER: "Its answer", LABEL: "Right label"}


def first_texts(subject: Subject, name: str) -> dict[str, str]:
    """The texts of a task's first right item, by the fields that its prompts have places for."""
    from accord.explore.asking import answer_field

    task = subject.task(name)
    texts = item_texts(task, next((item for item in task.items if item.gold), task.items[0]))
    if answer_field(task) in texts:
        del texts[ANSWER]
    return texts


def item_texts(task: "Task", item: "Item") -> dict[str, str]:
    """What asks an item of a task again: the texts of its fields, its answer, and its label where there are labels."""
    from accord.explore.asking import input_fields

    texts = {**{field: str(item.fields[field]) for field in input_fields(task)}, ANSWER: item.answer}
    return {**texts, LABEL: task.labels.right(item)} if task.labels.chooses else texts


def forms_of(subject: Subject, name: str) -> str:
    """What the fields of a task are places in: the templates of both forms."""
    task = subject.task(name)
    generator, validator = (" ".join(form.template.text.split()) for form in (task.generator, task.validator))
    return f"It completes “{generator}”, and is asked “{validator}”."


def question_of(subject: Subject, asked: Asked) -> "Task":
    """The question that stands in the fields. Raises AccordError for one that cannot be asked."""
    from accord.explore.asking import question_of_fields, question_of_prompts

    texts = dict(asked.texts)
    if asked.way == PROMPTS:
        yes, no = (split_words(texts.pop(label)) for label in ("yes", "no"))
        return question_of_prompts(**texts, yes=yes, no=no)
    answer, label = texts.pop(ANSWER, None), texts.pop(LABEL, None)
    return question_of_fields(subject.task(asked.way), texts, answer=answer, label=label)


def split_words(text: str) -> list[str]:
    """Words with commas between them."""
    return [word.strip() for word in text.split(",") if word.strip()]


def answers_to(subject: Subject, asked: Asked, key: str) -> ShownAnswers:
    """Ask every model; called in the thread of the models."""
    return shown_answers(subject, question_of(subject, asked), asked.models, as_python(subject, asked), key)


def as_python(subject: Subject, asked: Asked) -> str:
    """The lines of Python that ask the same."""
    texts = dict(asked.texts)
    lines = ["import accord", "from accord import explore", ""]
    if asked.way == PROMPTS:
        labels = ", ".join(f"{label}={split_words(texts.pop(label))!r}" for label in ("yes", "no"))
        given = ", ".join(repr(texts[name]) for name in ("generator", "answer", "validator"))
        lines.append(f"question = explore.question_of_prompts({given}, {labels})")
    else:
        section = subject.questions[asked.way]
        keys = {key: value for key, value in section.asked.items() if key in section.model_fields_set}
        source, data = subject.given_of(section)
        keys |= {"data": data} if data else {}
        options = "".join(f", {key}={value!r}" for key, value in keys.items())
        extra = "".join(f", {name[:-1]}={texts.pop(name)!r}" for name in (ANSWER, LABEL) if name in texts)
        lines.append(f"task = accord.task({pformat(source, sort_dicts=False)}{options})")
        lines.append(f"question = explore.question_of_fields(task, {pformat(texts, sort_dicts=False)}{extra})")
    lines += [f"explore.ask(accord.load({subject.place(name)!r}), question)" for name in asked.models]
    return "\n".join(lines)
