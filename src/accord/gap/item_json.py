"""All items of a gap as compact JSON for the page, within a budget of bytes; those of a repair before and after it.

An object of columns, an entry an item. Its keys, which `items.js` reads:

    of        how many items there are; `i` has the rows that are here, where these are not all
    y         right (1) or wrong (0), a character an item
    a         answers
    gs, g     groups, and of each item the place of its own, -1 for none
    x, q      generator and validator prompts: `all` the worked examples that all share, `pre` and `post` what all begin
              and end with, `own` what is between; `cut` where the beginning of a long one is left out
    s         scores, an object a side (before, after): `k` said (1) + affirmed (2), a character an item; `l` and `v`
              log-odds of generator and validator, `p` and `w` their places, in thousandths of the other items; `r`
              ranks, `m` mass on the label words
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from accord.gap.slices import judged
from accord.report.prompts import LONGEST, common_beginning, shared_beginning
from accord.report.wording import count

BUDGET = 3_000_000  # bytes, of all items on a page
SCRIPT = Path(__file__).with_name("items.js")
LETTERS = (2000, 600, 200, 80)  # of a prompt or an answer, so many as fit the budget
FORMS = {"generator": "x", "validator": "q"}
_INFINITE = 1e308  # JSON has no other


@dataclass(frozen=True)
class EmbeddedItems:
    """JSON that may stand in a page, how many items it has, and how many letters of a prompt at most."""

    text: str
    items: int
    letters: int


def items_shown(
    key: str,
    before: pd.DataFrame,
    after: pd.DataFrame | None = None,
    *,
    label: str,
    note: str = "",
    file: str = "scores.parquet",
    budget: int = BUDGET,
) -> dict[str, Any]:
    """What items.html shows of a score table (see `Gap.scores`), and of the same items after a repair.

    Args:
        key: begins ids, unique on the page.
        label: of what they are, for who cannot see where the table stands.
        note: what else is to be known of the two sides.
        file: that has all of it.
        budget: bytes that the items may take.
    """
    embedded = embed_items(before, after, budget)
    left = []
    if embedded.items < len(before):
        left.append(f"the {embedded.items:,} of {count(len(before), 'item')} on which the two forms lie furthest apart")
    if embedded.letters < LETTERS[0]:
        left.append(f"the last {embedded.letters} letters of a prompt")
    return {
        "template": str(Path(__file__).with_name("items.html")),
        "key": key,
        "label": label,
        "n": count(len(before), "item"),
        "note": note,
        "file": file,
        "left_out": f"To stay light, this page holds {' and '.join(left)}; {file} has all." if left else "",
        # Safe to mark so: `embed_items` leaves no "<" in it.
        "json": Markup(embedded.text),
    }


def embed_items(before: pd.DataFrame, after: pd.DataFrame | None, budget: int) -> EmbeddedItems:
    """As many letters of each item as fit the budget; where even the fewest are too many, the items furthest apart."""
    sides = [judged(table) for table in (before, after) if table is not None]
    apart = np.max([side["distance"].abs().fillna(0.0).to_numpy() for side in sides], axis=0)
    rows, letters = np.arange(len(before)), LETTERS[0]
    for letters in LETTERS:
        text = _dumped(_columns(sides, rows, letters))
        if len(text.encode()) <= budget:
            return EmbeddedItems(text, len(rows), letters)
    while len(rows) > 1 and len(text.encode()) > budget:
        kept = max(1, min(len(rows) - 1, int(0.95 * len(rows) * budget / len(text.encode()))))
        rows = np.sort(np.argsort(-apart, kind="stable")[:kept])
        text = _dumped(_columns(sides, rows, letters))
    return EmbeddedItems(text, len(rows), letters)


def _columns(sides: Sequence[pd.DataFrame], rows: np.ndarray, letters: int) -> dict[str, Any]:
    first = sides[0].iloc[rows]
    groups = ["" if pd.isna(group) else str(group)[:letters] for group in first["group"]]
    names = sorted(set(groups) - {""})
    place = {name: i for i, name in enumerate(names)} | {"": -1}
    columns: dict[str, Any] = {
        "of": len(sides[0]),
        "y": "".join("1" if gold else "0" for gold in first["gold"]),
        "a": [str(answer)[:letters] for answer in first["answer"]],
        "s": [_scores(side.iloc[rows]) for side in sides],
    }
    if len(rows) < len(sides[0]):
        columns["i"] = rows.tolist()
    if names:
        columns |= {"gs": names, "g": [place[group] for group in groups]}
    return columns | {key: _prompts(first[f"{form}_prompt"], letters) for form, key in FORMS.items()}


def _scores(side: pd.DataFrame) -> dict[str, Any]:
    said, affirmed = side["says"].to_numpy(dtype=int), side["affirms"].to_numpy(dtype=int)
    scores = {
        "k": "".join(str(kind) for kind in said + 2 * affirmed),
        "l": _rounded(side["generator_logodds"]),
        "v": _rounded(side["validator_logodds"]),
        "p": _rounded(1000 * side["generator_place"], 0),
        "w": _rounded(1000 * side["validator_place"], 0),
    }
    for column, key in (("generator_rank", "r"), ("yes_no_mass", "m")):
        if column in side:
            scores[key] = _rounded(side[column], 3)
    return scores


def _prompts(prompts: pd.Series, letters: int) -> dict[str, Any]:
    """What all prompts share once, and of each what is its own: its end, where that is long."""
    texts = [str(prompt) for prompt in prompts]
    shared = shared_beginning(texts)
    texts = [text.removeprefix(shared) for text in texts]
    pre = common_beginning(texts)
    texts = [text[len(pre) :] for text in texts]
    post = common_beginning([text[::-1] for text in texts])[::-1]
    own = [text[: len(text) - len(post)] for text in texts]
    column = {
        "all": shared[-LONGEST:], "pre": pre[-letters:], "post": post[-letters:],
        "own": [text[-letters:] for text in own],
    }  # fmt: skip
    cut = len(shared) > LONGEST or any(len(text) > letters for text in (pre, post, *own))
    return column | ({"cut": 1} if cut else {})


def _rounded(values: pd.Series, digits: int = 4) -> list[float | int | None]:
    """Numbers of few characters: whole ones as such, what is not known as None."""
    out: list[float | int | None] = []
    for value in values.to_numpy(dtype=float):
        number = float(np.clip(np.round(value, digits), -_INFINITE, _INFINITE))
        out.append(None if np.isnan(number) else int(number) if number.is_integer() and abs(number) < 1e15 else number)
    return out


def _dumped(columns: Mapping[str, Any]) -> str:
    """JSON in which no tag, comment or end of the script can begin."""
    text = json.dumps(columns, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in chain("<", "\u2028\u2029"):
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
