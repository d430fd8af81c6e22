"""A concept dictionary as compact JSON for the page: all that a concept's view shows, within a budget of bytes.

One record a concept; what is not known is left out. Its keys, which `page.js` reads:

    k, n, a, no      number, name, alternatives, reason why there is no name
    r, rh, c, m, x   rate, rate held out, count, mean and largest strength
    h, e             counts of the histogram, its outer edges
    d, ds, f, fs     detection and fuzzing scores, each followed by that of a shuffled name
    l, lt, on, off, ln   label (a word, or nothing), t or z, share or mean with and without, texts
    t                kinds of token: [token, share, usual share]
    up, dn           promoted and suppressed tokens: [token, change]
    nb               nearest concepts: [number, cosine]
    ex               examples: [kind, band, strength, before, token, after]; kind 0 top, 1 quantile, 2 text
    st               steering: [dose, measure, arm's value, low, high, of the controls likewise, acts]
    xp               explanation: [pull, low, high, generator's share, validator's share]
"""

import json
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from accord.explain.result import Explanation
from accord.names.result import NamedDictionary
from accord.steering.result import Effects
from accord.steering.shown_doses import ARMS, doses_of, label_of, rows_at

BUDGET = 4_000_000  # bytes, of all dictionaries of a page
KINDS = ("top", "quantile", "text")
_MEASURES = ("promoted", "wanted", "label")


@dataclass(frozen=True)
class Fill:
    """How much of each concept goes into the page: tokens of a list, examples of a kind, letters beside a token."""

    tokens: int
    top: int
    band: int
    texts: int
    around: int

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return self == FILLS[0]

    def examples(self, kind: str) -> int:
        """How many examples of a kind, in each band."""
        return {"top": self.top, "quantile": self.band, "text": self.texts}[kind]


FILLS = (
    Fill(20, 30, 10, 5, 400),
    Fill(10, 8, 2, 2, 120),
    Fill(8, 5, 1, 1, 80),
    Fill(6, 3, 1, 0, 60),
    Fill(5, 2, 0, 0, 50),
    Fill(3, 1, 0, 0, 30),
)


@dataclass(frozen=True)
class Embedded:
    """JSON that may stand in a page, how much of each concept it has, and of how many concepts."""

    text: str
    fill: Fill
    concepts: int


def embed(named: NamedDictionary, effects: Effects | None, explanation: Explanation | None, budget: int) -> Embedded:
    """The fullest records that fit the budget; where even the leanest are too large, those of the first concepts."""
    rows, examples = named.concepts.to_dict("records"), _Examples(named.examples)
    more = _more(effects, explanation)
    first: list[str] = []
    for fill in FILLS:
        first, spent = [], 0
        for line in _lines(rows, examples, fill, more):
            spent += len(line.encode()) + 1
            if spent > budget:
                if fill == FILLS[-1] and not first:
                    first.append(line)
                break
            first.append(line)
        if spent <= budget:
            return Embedded(f"[{','.join(first)}]", fill, len(first))
    return Embedded(f"[{','.join(first)}]", FILLS[-1], len(first))


def _lines(
    rows: Sequence[Mapping[Hashable, Any]], examples: "_Examples", fill: Fill, more: Mapping[int, dict[str, Any]]
) -> Iterator[str]:
    for row in rows:
        concept = int(row["concept"])
        own = _concept({str(key): value for key, value in row.items()}, fill)
        yield _dumped(own | {"ex": examples.of(concept, fill)} | more.get(concept, {}))


def _dumped(record: Mapping[str, Any]) -> str:
    """JSON in which no tag, comment or end of the script can begin."""
    known = {key: value for key, value in record.items() if value is not None and value != []}
    text = json.dumps(known, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _concept(row: Mapping[str, Any], fill: Fill) -> dict[str, Any]:
    def tokens(name: str, *numbers: str) -> list[list[Any]]:
        return [[str(entry["token"]), *(_round(entry[n]) for n in numbers)] for entry in list(row[name])[: fill.tokens]]

    edges = list(row["edges"])
    return {
        "k": int(row["concept"]), "n": _text(row["name"]), "a": _texts(row.get("alternatives")),
        "no": _text(row.get("no_name")),
        "r": _round(row["rate"]), "rh": _round(row.get("rate_held_out")), "c": _round(row.get("count")),
        "m": _round(row["mean"]), "x": _round(row["max"]),
        "h": [int(n) for n in row["histogram"]], "e": [_round(edge) for edge in edges[:1] + edges[-1:]],
        "d": _round(row.get("detection")), "ds": _round(row.get("detection_shuffled")),
        "f": _round(row.get("fuzzing")), "fs": _round(row.get("fuzzing_shuffled")),
        "l": _text(row.get("label")), "lt": _round(row.get("label_t")), "on": _round(row.get("label_on")),
        "off": _round(row.get("label_off")), "ln": _round(row.get("label_texts")),
        "t": tokens("types", "share", "usual"), "up": tokens("promoted", "change"),
        "dn": tokens("suppressed", "change"),
        "nb": [[int(near["concept"]), _round(near["cosine"])] for near in row["neighbours"]],
    }  # fmt: skip


class _Examples:
    """The examples from the training texts, the strongest first within each kind and band of a concept."""

    def __init__(self, table: pd.DataFrame) -> None:
        rows = table[table["kind"].isin(KINDS)]
        rows = rows.assign(place=rows["kind"].map(KINDS.index)).sort_values(
            ["concept", "place", "band", "strength"], ascending=[True, True, False, False], kind="stable"
        )
        self._rank = rows.groupby(["concept", "place", "band"]).cumcount().tolist()
        self._columns = [rows[name].tolist() for name in ("place", "band", "strength", "before", "token", "after")]
        self._concept = rows["concept"].to_numpy()

    def of(self, concept: int, fill: Fill) -> list[list[Any]]:
        """Those of a concept that are shown, as they stand in its record."""
        begin, end = np.searchsorted(self._concept, [concept, concept + 1])
        entries = []
        for rank, place, band, strength, before, token, after in zip(
            self._rank[begin:end], *(column[begin:end] for column in self._columns), strict=True
        ):
            if rank < fill.examples(KINDS[place]):
                start = str(before)[: 2 * fill.around] if place == 2 else str(before)[-fill.around :]
                entries.append([int(place), int(band), _round(strength), start, str(token), str(after)[: fill.around]])
        return entries


def _more(effects: Effects | None, explanation: Explanation | None) -> dict[int, dict[str, Any]]:
    """What other stages found about single concepts."""
    more: dict[int, dict[str, Any]] = {}
    if effects is not None:
        for k, part in effects.table.groupby("concept"):
            more.setdefault(int(str(k)), {})["st"] = list(_steering(part, label_of(effects)))
    if explanation is not None:
        columns = ("concept", "pull", "low", "high", "generator_share", "validator_share")
        for k, *numbers in zip(*(explanation.concepts[c] for c in columns), strict=True):
            more.setdefault(int(k), {})["xp"] = [_round(number) for number in numbers]
    return more


def _steering(part: pd.DataFrame, label: str) -> Iterable[list[Any]]:
    words = {"promoted": "its promoted tokens, nats", "wanted": f"share with wanted {label}", "label": label}
    for measure in _MEASURES:
        own = part[part["measure"] == measure]
        for dose in doses_of(own):
            rows = rows_at(own, dose).set_index("control")
            if any(arm not in rows.index for arm in ARMS):
                continue
            numbers = [[_round(rows.loc[arm, end]) for end in ("value", "low", "high")] for arm in ARMS]
            acts: Any = rows.loc[ARMS[0], "acts"]
            yield [dose.words, words[measure], *numbers, None if pd.isna(acts) else int(bool(acts))]


def _round(value: object) -> float | int | None:
    """Three digits; None for what is not a finite number."""
    if value is None or not math.isfinite(number := float(str(value))):
        return None
    if number == int(number) and abs(number) < 1e12:
        return int(number)
    return float(f"{number:.3g}")


def _text(value: object) -> str | None:
    return None if value is None or value is pd.NA or value != value else str(value)


def _texts(value: Sequence[object] | None) -> list[str]:
    return [] if value is None or isinstance(value, float) else [str(text) for text in value]
