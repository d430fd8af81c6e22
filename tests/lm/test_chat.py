"""A chat template is a program from elsewhere: whatever it does, it ends, and takes and writes no more than it may."""

import sys
import time

import pytest

from accord.errors import AccordError
from accord.lm import chat
from tests.tiny import tiny_tokenizer

PLAIN = "{% for m in messages %}[{{ m.content }}]{% endfor %}"


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(chat, "_SECONDS", 0.1)
    monkeypatch.setattr(chat, "_MEMORY", 2**28)


@pytest.mark.parametrize(
    ("template", "got"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "no end"),
        ("{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}", "no end"),
        ("{{ lipsum(n=100000000) }}", "no end"),
        ("{{ 'x' * 10000000000 }}", "MemoryError"),
        ("{% set n = namespace(x='x') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}", "Error"),
        ("{{ 10 ** 10 ** 10 }}", "powers"),
        ("{{ 'x' * 1000000 }}", "1,000,00"),
        ("{% if a %}" * 3000, "RecursionError"),
        ("{{ range(10000000) }}", "OverflowError"),
    ],
)
@pytest.mark.parametrize("options", [None, {"thinking": True}])
def test_a_template_ends(template, got, options):
    tokenizer, begun = tiny_tokenizer(), time.process_time()
    tokenizer.chat_template = PLAIN + template + ("" if "{% if" in template[:9] else "{{ thinking }}")
    with pytest.raises(AccordError, match="this model's chat template fails") as error:
        chat.chat_text(tokenizer, "hi", options)
    assert got in error.value.got
    assert time.process_time() - begun < 5


def test_what_is_limited_is_free_again():
    resource = pytest.importorskip("resource")
    tokenizer, seen = tiny_tokenizer(), []
    tokenizer.chat_template = PLAIN
    limits, trace = resource.getrlimit(resource.RLIMIT_AS), lambda *_: seen.append(1)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        assert chat.chat_text(tokenizer, "hi") == "[hi]"
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)
    assert resource.getrlimit(resource.RLIMIT_AS) == limits
