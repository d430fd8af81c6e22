"""What `accord gap` and `accord show` print: items, how a model reads them, what to do where it seldom answers."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.gap.slices import AFFIRMS_SILENT, SAYS_DENIES, worst
from accord.report.prompts import shared_beginning
from accord.screen import tell
from accord.tasks.config import QuestionSection
from accord.terminal import print_table, print_text

if TYPE_CHECKING:
    from accord.gap import Gap
    from accord.gap.config import GapSection
    from accord.gap.preview import AsRead, Preview, Weighed
    from accord.lm.model import LanguageModel
    from accord.tasks import Task

ENOUGH = 0.9  # of the probability: then there is nothing to mend
_WORDS = 4  # label words that are shown of an item
_PROMPT = 60  # characters of a prompt in a table: its end

Make = Callable[..., "Task"]
"""Makes the task with these keys of a [[gap]] section in place of its own; `task` may be a `CustomTask`."""


def show_as_read(lm: "LanguageModel", section: "GapSection", task: "Task", number: int, make: Make) -> None:
    """Print the first items as the model reads them, then what holds for the task, then what would help."""
    from accord.gap.preview import preview

    seen = preview(lm, task, items=number)
    for item in seen.items:
        _print_item(item, task)
    tell()
    for line in _about(seen):
        tell(line)
    if seen.mass < ENOUGH:
        _print_remedies(lm, section, task, seen, make)


def show_items(task: "Task", number: int) -> None:
    """Print the first items with both prompts, as the task has them."""
    for item in task.items[:number]:
        about = [f"answer: {item.answer}", f"gold: {task.labels.right(item)}"]
        about += [f"{key}: {value}" for key in ("group", "similarity") if (value := getattr(item, key))]
        tell("\n" + ", ".join(about))
        for form, prompt in zip(("generator", "validator"), task.prompts(item), strict=True):
            tell(f"{form}:\n" + _indented(prompt))


def show_command(model: str, question: QuestionSection) -> str:
    """The command that shows a question's task as a model reads it.

    >>> show_command("smollm2-135m", QuestionSection(task="trivia", data="trivia.jsonl"))
    'accord show trivia --model smollm2-135m --data trivia.jsonl'
    """
    return shlex.join(["accord", "show", question.task, "--model", model, *_question_options(question)])


def repair_command(model: str, question: QuestionSection, method: str = "readout") -> str:
    """The command that repairs a model on a question, in the quickest way unless another method is named.

    >>> repair_command("smollm2-135m", QuestionSection(task="hypernymy"))
    'accord repair --model smollm2-135m --task hypernymy --method readout --out repaired'
    """
    asked = ["--model", model, "--task", question.task, *_question_options(question)]
    return shlex.join(["accord", "repair", *asked, "--method", method, "--out", "repaired"])


def gap_command(model: str, question: QuestionSection) -> str:
    """The command that measures the gap of a question.

    >>> gap_command("smollm2-135m", QuestionSection(task="hypernymy", validator_shots="few"))
    'accord gap --model smollm2-135m --task hypernymy --shots few'
    """
    asked = ["--model", model, "--task", question.task, *_question_options(question)]
    limit = getattr(question, "limit", None)
    return shlex.join(["accord", "gap", *asked, *([] if limit is None else ["--limit", str(limit)])])


def _question_options(question: QuestionSection) -> list[str]:
    words: list[str] = []
    words += ["--data", question.data] if question.data is not None else []
    named = {
        "shots": question.validator_shots,
        "generator": question.generator_phrasing,
        "validator": question.validator_phrasing,
    }
    words += [word for option, value in named.items() if value for word in (f"--{option}", value)]
    words += ["--chat"] if question.chat else []
    words += ["--system", question.system] if question.system else []
    for key, value in (question.chat_options or {}).items():
        words += ["--chat-option", f"{key}={json.dumps(value)}"]
    words += ["--one-message"] if question.chat_turns is False else []
    return words


def print_items(gap: "Gap", most: int = 5) -> None:
    """The items on which the two forms stand furthest apart: those that it says and denies, or else the others."""
    kinds = worst(gap.scores, most)
    kind = SAYS_DENIES if len(kinds[SAYS_DENIES]) else AFFIRMS_SILENT
    rows = kinds[kind]
    if rows.empty:
        return
    shared = {form: shared_beginning(gap.scores[f"{form}_prompt"].tolist()) for form in ("generator", "validator")}

    def end(row: Any, form: str) -> str:
        text = " ".join(str(row[f"{form}_prompt"]).removeprefix(shared[form]).split())
        return text if len(text) <= _PROMPT else "…" + text[-_PROMPT:]

    table = [
        [
            f"{end(row, 'generator')} | {row['answer']}",
            f"{row['generator_place']:.0%}",
            end(row, "validator"),
            f"{row['validator_logodds']:+z.1f}",
            "right" if row["gold"] else "wrong",
        ]
        for row in rows.to_dict("records")
    ]
    print_table(("completing", "said above", "asked", "log-odds of yes", "the answer is"), table)
    print_text(
        "Said above so many of the other items; an answer counts as said if it is among the model's likeliest, as many "
        "as there are right ones."
    )


def _indented(prompt: str) -> str:
    return "\n".join(f"  | {line}" for line in prompt.split("\n"))


def _print_item(read: "AsRead", task: "Task") -> None:
    tell(f"\nanswer: {read.item.answer}, gold: {task.labels.right(read.item)}")
    for form, prompt in (("generator", read.generator), ("validator", read.validator)):
        tell(f"{form}, as the model reads it:\n" + _indented(prompt))
        if form == "generator":
            clash = "; the first does not tell it from an answer of the other kind" if read.clashes else ""
            tell(f"  answer's tokens: {_weighed(read.answer)}{clash}")
        else:
            tell(f"  label words: {_weighed(read.labels[:_WORDS])}, …; together {_share(read.mass)}")


def _about(seen: "Preview") -> list[str]:
    from accord.gap.findings import counted_words

    answer = seen.answer_score
    lines = [counted_words(answer.counted, answer.clashes, answer.items) + f' (answer_score = "{answer.setting}")']
    if seen.blank:
        lines.append(
            f"Blank first tokens: {seen.blank:,} of {answer.items:,} answers begin with white space alone, so their "
            'first tokens say nothing: count the whole answer, or set what joins it to the prompt (join = "").'
        )
    lines.append(f"Label words get {_share(seen.mass)} of the probability; most said: {_weighed(seen.said)}.")
    return lines


def _print_remedies(lm: "LanguageModel", section: "GapSection", task: "Task", seen: "Preview", make: Make) -> None:
    from accord.gap.preview import try_out

    changed, how = _remedies(lm, section, task, make)
    tried = try_out(lm, changed)
    if not tried:
        tell("Nothing else to try: no other wording, no chat template, no items to spare for worked examples.")
        return
    rows = [[name, _share(mass), "see below" if "\n" in how[name] else how[name]] for name, mass in tried.items()]
    rows.sort(key=lambda row: -tried[row[0]])
    tell("\nWhat else was tried:")
    print_table(("change", "label words get", "how"), [["as it is", _share(seen.mass), ""], *rows])
    if max(tried.values()) <= 1.5 * seen.mass:
        words = "take label words that it does say (yes = […], no = […])"
        tell(f"None of them helps much: {words}, or a model tuned to instructions.")
        return
    for remedy in (how[name] for name in tried):
        if "\n" in remedy:
            tell(f"\nWorked examples, made of the task's own items, to put into its file:\n{remedy}")


def _remedies(
    lm: "LanguageModel", section: "GapSection", task: "Task", make: Make
) -> tuple[dict[str, Callable[[], "Task"]], dict[str, str]]:
    """What can be tried: name -> the changed task, and how the user gets it."""
    from accord.tasks import CustomTask
    from accord.tasks.examples import shots_as_toml, with_examples

    changed: dict[str, Callable[[], Task]] = {}
    how: dict[str, str] = {}

    def add(name: str, remedy: str, **keys: Any) -> None:
        changed[name], how[name] = lambda: make(**keys), remedy

    custom = CustomTask.load(Path(section.task)) if section.task.endswith(".toml") else None
    if custom is not None:
        with_shots = custom if custom.shots else with_examples(custom, task.pool)
        if with_shots is not None and task.validator.shots == "zero":
            remedy = "--shots few" if custom.shots else shots_as_toml(with_shots)
            add("worked examples", remedy, task=with_shots, validator_shots="few")
        plain = custom.validator.removesuffix("Answer:").rstrip()
        wordings = (f"Yes or no: {custom.validator}", f"{plain} Answer yes or no:") if task.labels.usual else ()
        for wording in wordings:
            reworded = custom.model_copy(update={"validator": wording})
            add(f"the wording “{wording}”", f"validator = {json.dumps(wording, ensure_ascii=False)}", task=reworded)
    elif task.validator.shots == "zero":
        add("worked examples", "--shots few", validator_shots="few")
    for name in task.rewordings.get("validator", ()):
        add(f"the wording “{name}”", f"--validator {name}", validator_phrasing=name)
    if not section.chat and lm.tokenizer.chat_template:
        add("the chat template", "--chat", chat=True)
    return changed, how


def _weighed(tokens: "Weighed") -> str:
    return " ".join(f"{text} {_share(p)}" for text, p in tokens)


def _share(value: float) -> str:
    """A probability in per cent, with a decimal where it is small.

    >>> _share(0.12), _share(0.004), _share(0.0002)
    ('12%', '0.4%', '<0.1%')
    """
    return f"{value:.0%}" if value >= 0.0995 or value == 0 else f"{value:.1%}" if value >= 0.001 else "<0.1%"
