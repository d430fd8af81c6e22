"""The one place that writes text for people: what anybody wrote is shown as it stands, and does nothing to a terminal.

Names, prompts, answers and messages come from users, models, files and servers. None of it is read as markup; what
would move a cursor, hide or turn the text around it is written out, as `\\x1b` and `\\u202e`.
"""

import sys
import unicodedata
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_LINES = "\n\t"
_JOINERS = "\u200c\u200d"  # these change how letters and emoji look, and are part of words
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # categories: control, format, half of a pair, ends of lines and paragraphs


def visible(text: str) -> str:
    r"""Text in which every character can be seen, but for ends of lines and tabs.

    >>> visible("bees\x1b[31m \u202eflower\r")
    'bees\\x1b[31m \\u202eflower\\r'
    """
    return text if text.isprintable() else "".join(letter if _shows(letter) else _written(letter) for letter in text)


def _shows(letter: str) -> bool:
    return letter in _LINES or letter in _JOINERS or unicodedata.category(letter) not in _UNSEEN


def _written(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def tell(text: object = "", *, err: bool = False) -> None:
    """Print a line: a result, or, with `err`, what is not one, on standard error."""
    print(visible(str(text)), file=sys.stderr if err else sys.stdout, flush=True)


class Screen(Console):
    """A console of rich that takes all text as `tell` does; only styles that the code gives are styles."""

    def __init__(self, **keys: Any) -> None:
        super().__init__(**{**keys, "markup": False, "emoji": False, "highlight": False})

    def render_str(self, text: str, **keys: Any) -> Text:
        """Text as it stands."""
        return super().render_str(visible(text), **keys)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is written, its characters all visible."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))
