"""Is this body right? Small Python functions with several right and several wrong bodies of each.

The built-in ones are made by `scripts/make_programs.py`, which ran each body on tests of its function to see whether it
is right. Nothing is run here.
"""

from pathlib import Path

from accord.tasks import responses
from accord.tasks.base import Definition

EXAMPLES = (  # beginning, a right body, the body that the validator is asked about
    (
        'def double(n):\n    """Twice n."""',
        "    return 2 * n",
        "    return 2 * n",
    ),
    (
        'def is_empty(text):\n    """Whether a text has no letters."""',
        "    return len(text) == 0",
        "    return len(text) == 1",
    ),
    (
        'def last(items):\n    """The last of a list."""',
        "    return items[-1]",
        "    return items[0]",
    ),
    (
        'def half(n):\n    """Half of n, rounded down."""',
        "    return n // 2",
        "    return n // 2",
    ),
)


DEFINITION = Definition(
    name="programs",
    asks="Does this body do what the function is for?",
    needs="JSON lines with prompt (the beginning of a function), response (its body), correct (Yes/No) and strategy",
    generators={
        "plain": "{prompt}",
        "correct": "# Python, correct and tested\n{prompt}",
        "asked": "Complete this Python function.\n{prompt}",
    },
    negated={
        "plain": "# Python, with a mistake in the body\n{prompt}",
        "correct": "# Python, with a mistake, fails its tests\n{prompt}",
        "asked": "Complete this Python function wrongly.\n{prompt}",
    },
    validators={
        "correct": "{prompt}\n{response}\n\nIs this function correct? Answer:",
        "tests": "{prompt}\n{response}\n\nDoes this function pass its tests? Answer:",
        "think": "Here is a Python function.\n{prompt}\n{response}\n\nDo you think that it is right? Answer:",
    },
    generator_shots=[responses.item(prompt, right, True) for prompt, right, _ in EXAMPLES],
    validator_shots=[responses.item(prompt, other, other == right) for prompt, right, other in EXAMPLES],
    read=responses.read,
    data=Path(__file__).parent / "data" / "programs.jsonl",
    answer_join="\n",
    answer_score="whole",
)
