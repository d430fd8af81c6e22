"""What an annotator may answer: a name in one plain line, or a reason in few words why it cannot be used."""

import json
import unicodedata
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.ends_well import TEXTS, broken_texts, changed, ends_well, examples, torn

from accord.names.answers import LONGEST, Answer, Unusable, parse

ANSWER = {"concept": "birds", "alternatives": ["things with wings", "animals that fly"]}
pieces = st.sampled_from(
    ['{"concept": "birds"}', '{"concept": ', '{"', "{", "}", "[", "```json\n", "\\u", "<think>", '"']
)


def said(text: str) -> None:
    answer: list[Any] = []
    reason = ends_well(lambda: answer.append(parse(text, Answer)), refusal=Unusable)
    assert reason is None or len(reason) < 1000
    for name in (line for one in answer for line in (one.concept, *one.alternatives)):
        assert len(name) <= LONGEST and "\n" not in name
        assert not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name)


@examples(40)
@given(content=changed(ANSWER, broken_texts, none=True))
def test_any_object(content: Any) -> None:
    said(f"Let me think. {json.dumps(content)}")
    said(json.dumps(content, ensure_ascii=False))


@examples(40)
@given(data=torn(json.dumps(ANSWER).encode()))
def test_any_bytes(data: bytes) -> None:
    said(data.decode(errors="replace"))


@examples(40)
@given(
    parts=st.lists(pieces | st.sampled_from(TEXTS) | broken_texts, max_size=8),
    times=st.sampled_from([1, 1, 100, 20_000]),
)
def test_any_text(parts: list[str], times: int) -> None:
    said(("".join(parts) * times)[:20_000])
