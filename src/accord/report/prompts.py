"""Prompts and settings as the page shows them: what all prompts share is folded, what is long is cut."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LONGEST = 6000  # characters of a prompt or of a setting on the page
SHORTEST_FOLD = 60  # a shared beginning shorter than this is not worth folding away


def shared_beginning(prompts: Sequence[str]) -> str:
    """What every prompt starts with, in whole lines: the worked examples of a few-shot form.

    Empty for a single prompt, and where it is too short to be worth folding.
    """
    same = common_beginning(prompts)
    whole_lines = same[: same.rfind("\n") + 1]
    return whole_lines if len(whole_lines) >= SHORTEST_FOLD else ""


def common_beginning(texts: Sequence[str]) -> str:
    """What all texts begin with; empty for a single one.

    >>> common_beginning(["a bee is", "a bus is"])
    'a b'
    """
    if len(texts) < 2:
        return ""
    first, last = min(texts), max(texts)  # what these two share, all that lie between them share
    return first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as dotted names and readable values, long ones cut.

    >>> dict(flat({"task": {"name": "hypernymy", "limit": 400}, "layers": True}))
    {'task.name': 'hypernymy', 'task.limit': '400', 'layers': 'true'}
    """
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            yield f"{prefix}{name}", text if len(text) <= LONGEST else text[:LONGEST] + "…"
