"""What annotators and judges are asked."""

from collections.abc import Sequence

import pandas as pd

Shown = tuple[str, str, str]
"""A token as it is shown: what stands before it, the token, what stands after it."""

OPEN, CLOSE = "<<", ">>"
_PROMOTED = 5


def examples_to_show(examples: pd.DataFrame, shown: int) -> dict[int, list[Shown]]:
    """Of each concept the training examples that its name is asked from, `shown` of them.

    Two thirds are its strongest tokens; the others come from all its strengths, the stronger quarters first.
    """
    top = examples[examples["kind"] == "top"]
    drawn = examples[examples["kind"] == "quantile"]
    turn = drawn.groupby(["concept", "band"]).cumcount()
    drawn = drawn.assign(turn=turn).sort_values(["turn", "band"], ascending=[True, False], kind="stable")
    by_concept: dict[int, list[Shown]] = {}
    for rows, most in ((top, shown - shown // 3), (drawn, shown // 3)):
        first = rows[rows.groupby("concept").cumcount() < most]
        columns = (first[name].tolist() for name in ("concept", "before", "token", "after"))
        for concept, *context in zip(*columns, strict=True):
            by_concept.setdefault(concept, []).append((context[0], context[1], context[2]))
    return by_concept


def naming_prompt(examples: Sequence[Shown], promoted: Sequence[str]) -> str:
    """Ask for a concept's name, from some of its training examples and the tokens that it promotes."""
    lines = [f"{number}. {marked(*example)}" for number, example in enumerate(examples, 1)]
    words = ", ".join(one_line(word) for word in promoted[:_PROMOTED])
    # No values are given to copy: a small model that is shown {"concept": "a name"} answers just that.
    return (
        f"A detector fires on the words between {OPEN} and {CLOSE} in these texts:\n"
        + "\n".join(lines)
        + f"\nThe marked words alone: {', '.join(one_line(token) for _, token, _ in examples)}\n"
        + f"After such a word, these become more likely: {words}\n"
        "What do the marked words, as they are used here, have in common? Answer with JSON only, with two keys: "
        "concept (its name, at most five words) and alternatives (a list of two other names)."
    )


def question(task: str, name: str, before: str, token: str, after: str) -> str:
    """Ask for a yes or no: does the context show the concept (detection), or the marked word (fuzzing)?"""
    if task == "detection":
        return f'Text: {one_line(before + token + after)}\nDoes this text contain "{name}"? Answer Yes or No.'
    text = marked(before, token, after)
    return f'Text: {text}\nIs the word between {OPEN} and {CLOSE} an example of "{name}"? Answer Yes or No.'


def list_question(task: str, name: str, contexts: Sequence[tuple[str, str, str]]) -> str:
    """Ask which of the contexts do, all at once; the answer is JSON with their numbers."""
    if task == "detection":
        instruction, texts = (
            f'Which of these texts contain "{name}"?',
            (one_line("".join(context)) for context in contexts),
        )
    else:
        instruction = f'In which of these texts is the word between {OPEN} and {CLOSE} an example of "{name}"?'
        texts = (marked(*context) for context in contexts)
    lines = [f"{number}. {text}" for number, text in enumerate(texts, 1)]
    return f"{instruction} It may be none or all.\n" + "\n".join(lines) + '\nAnswer with JSON only: {"numbers": [1, 2]}'


def marked(before: str, token: str, after: str) -> str:
    """A context in one line, its token between marks.

    >>> marked("and the", " bird", " flew")
    'and the <<bird>> flew'
    """
    word = token.strip()
    left, right = token[: len(token) - len(token.lstrip())], token[len(token.rstrip()) :] if word else ""
    return one_line(f"{before}{left}{OPEN}{word}{CLOSE}{right}{after}")


def one_line(text: str) -> str:
    """Without line breaks and runs of spaces."""
    return " ".join(text.split())
