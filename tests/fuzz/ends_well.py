"""What fuzzing asks of everything that reads what others wrote, and the bad input that it tries."""

import copy
import os
import resource
import signal
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from accord.errors import AccordError

LONGER = int(os.environ.get("LONGER", "100"))  # times as many examples in `make fuzz`
SECONDS = 5  # of computing that any input may take
MEMORY = 500_000  # kilobytes that the process may grow by


def examples(number: int) -> settings:
    """So many examples in the suite, always the same ones; many more, and others, in `make fuzz`."""
    fuzzing = settings.get_current_profile_name() == "fuzz"
    return settings(max_examples=number * (LONGER if fuzzing else 1))


class TooLong(BaseException):
    """It took more computing than any input may."""


def ends_well(do: Callable[[], Any], *names: object, refusal: type[Exception] = AccordError) -> str | None:
    """Do it: it ends soon, without taking much memory, in a result or in one error that names these.

    Returns: what the error says; None where there is none.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = None
    with _at_most(SECONDS):
        try:
            do()
        except refusal as error:
            said = str(error)
    if sys.platform == "linux":  # elsewhere it counts in other units
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY
    if said is not None:
        assert said.strip() and len(said) < 20_000, said[:1000]
        assert all(str(name) in said for name in names), said
    return said


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Time of this process's own, so that a busy machine fails nothing."""

    def stop(number: int, frame: Any) -> None:
        raise TooLong

    begin, before = time.process_time(), signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert time.process_time() - begin < seconds  # what cannot be interrupted, such as a regular expression


def assert_told(code: int, output: str) -> None:
    """A command ended as commands do, and what it wrote does nothing to a terminal."""
    assert code in (0, 1, 2), output
    assert "Traceback" not in output and "bug in accord" not in output, output
    assert all(letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cs") for letter in output), output


# Bad input

TEXTS = [
    *("", " ", "\n", "x", "\x00", "a\x1b[31mb", "\x1b]8;;http://x\x07", "\x7f\x9b", "a\rb", "\u202eabc", "\ufeff"),
    *(
        "[/INST]",
        "[red]x[/red]",
        "[/]",
        "<script>alert(1)</script>",
        "</title>",
        "&amp;",
        "{",
        "}",
        "{}",
        "{0}",
        "{a.b}",
    ),
    *("%s", "../..", "/etc/passwd", ".", "..", "-", "--help", "con", "NUL", "a/b", "a\\b", "$HOME", "*", "**/*"),
    *("nan", "1e999", "last", "auto", "None", "é", "日本", "🙂", "x" * 300, "x" * 5_000, "a." * 2_000, "\u2028"),
]
NUMBERS = [0, 1, -1, 2, 2**31, 2**63 - 1, 2**63, -(2**64), 10**400, 0.0, -0.5, 1.5, 1e308, float("nan"), float("inf")]

WAYS = ["change", "change", "change", "replace", "take out", "add", "double", "nest", "rename"]

plain_texts = st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
"""Texts that every encoding has."""
broken_texts = plain_texts | st.sampled_from(["\ud800", "a\udfff", "\ud83d x"])
"""The same, and such as no encoding has, which JSON can spell."""


def values(texts: st.SearchStrategy[str], none: bool = False) -> st.SearchStrategy[Any]:
    """Numbers, texts, and lists and tables of these."""
    single = texts | st.sampled_from(NUMBERS) | st.booleans() | (st.none() if none else st.nothing())
    flat = single | st.lists(single, max_size=3)
    return flat | st.lists(flat, max_size=2) | st.dictionaries(texts, flat, max_size=3)


@st.composite
def changed(draw: Any, content: Any, texts: st.SearchStrategy[str] = plain_texts, none: bool = False) -> Any:
    """A table of tables and lists with up to three things in it changed, taken out, added, doubled or renamed."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        places = [place for place in _places(content) if place]
        if not places:
            break
        *above, last = draw(st.sampled_from(places))
        inner = content
        for part in above:
            inner = inner[part]
        what = draw(
            st.sampled_from(["change", "change", "change", "replace", "take out", "add", "double", "nest", "rename"])
        )
        if what == "take out":
            del inner[last]
        elif what == "replace":
            inner[last] = draw(values(texts, none))
        elif what == "nest":
            inner[last] = draw(st.sampled_from([[inner[last]], {"x": inner[last]}, [[]], {}]))
        elif what == "double" and isinstance(inner, list):
            inner.append(copy.deepcopy(inner[last]))
        elif what in ("add", "rename") and isinstance(inner, dict):
            key = draw(texts | st.sampled_from([str(key) for key in inner]))
            inner[key] = inner.pop(last) if what == "rename" else draw(values(texts, none))
        else:
            like = [n for n in NUMBERS if type(n) is type(inner[last])]
            inner[last] = draw(
                st.sampled_from(like) if like else texts if isinstance(inner[last], str) else values(texts, none)
            )
    return content


def _places(content: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        yield from _places(value, (*place, key))


@st.composite
def torn(draw: Any, data: bytes) -> bytes:
    """Bytes with up to four of their places flipped, cut out, doubled, or with something else put in."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        until = min(len(data), at + draw(st.sampled_from([0, 1, 2, 8, 40, 1_000_000])))
        between = draw(
            st.sampled_from([b"", data[at:until] * 2, b"\xff" * (until - at), b"[" * 2_000, b"{" * 2_000, b'"', b"\n"])
            | st.binary(min_size=1, max_size=9)
            | st.sampled_from(TEXTS).map(str.encode)
        )
        data = data[:at] + between + data[until:]
    return data
