"""What the end of the page's address names, so that a link opens it: a room, or one item of a gap."""

import re
from collections.abc import Sequence
from urllib.parse import quote, unquote

_ITEM = re.compile(r"#item-(?:(.+)-)?(\d{1,9})")


def item_place(asked: Sequence[str], name: str, item: int) -> str:
    """The end of an item's address: as in the report, `#item-17` is of the first gap, `#item-NAME-17` of another.

    >>> item_place(["hypernymy", "my task"], "hypernymy", 17), item_place(["hypernymy", "my task"], "my task", 3)
    ('#item-17', '#item-my%20task-3')

    Args:
        asked: names of all gaps, as the room Items has them.
    """
    return f"#item-{item}" if name == asked[0] else f"#item-{quote(name, safe='')}-{item}"


def item_at(asked: Sequence[str], place: str) -> tuple[str, int] | None:
    """The gap and the item that the end of an address names; None where it names no item of these gaps.

    >>> item_at(["hypernymy"], "#item-17"), item_at(["hypernymy"], "#item-other-17"), item_at([], "#item-17")
    (('hypernymy', 17), None, None)
    """
    found = _ITEM.fullmatch(place)
    if found is None or not asked:
        return None
    name = asked[0] if found[1] is None else unquote(found[1])
    return (name, int(found[2])) if name in asked else None


def room_place(name: str) -> str:
    """The end of a room's address.

    >>> room_place("Ask")
    '#ask'
    """
    return f"#{name.casefold()}"
