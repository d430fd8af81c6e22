"""What a run said of its stages, as tests read it."""

import re


def stages_made(text: str) -> list[str]:
    """The stages that a log tells to have ended, in order."""
    ends = (re.match(r"(?:\[ *\d+/\d+\] )?(\S+): \d+:\d\d", line) for line in text.splitlines())
    return [end[1] for end in ends if end]
