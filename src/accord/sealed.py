"""Files that cover themselves: each holds the hash of its own bytes, so that none can change unnoticed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

BLANK = "0" * 64
"""Stands in a text where its hash will stand: at its first place, before anything that others wrote."""

DIGEST = "digest"  # the key of the hash in a JSON file


def sealed(text: str) -> str:
    """A text with its hash in place of the first `BLANK`.

    >>> is_sealed((text := sealed(f"{BLANK} and all that follows")).encode(), text[:64])
    True
    """
    return text.replace(BLANK, hashlib.sha256(text.encode()).hexdigest(), 1)


def is_sealed(data: bytes, digest: Any) -> bool:
    """Whether the bytes of a file are as they were when this hash was put into them."""
    if not isinstance(digest, str) or len(digest) != len(BLANK) or not digest.isascii():
        return False
    return hashlib.sha256(data.replace(digest.encode(), BLANK.encode(), 1)).hexdigest() == digest


def sealed_json(content: Mapping[str, Any]) -> str:
    """A JSON object as a text that holds its hash. Numbers that are not finite stay as they are."""
    return sealed(json.dumps({DIGEST: BLANK, **content}, indent=2, ensure_ascii=False) + "\n")
