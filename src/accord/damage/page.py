"""What repairs broke, as their chapter shows it: a table for each repair, what its measures mean, free texts."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from accord.damage.over_seeds import factor, harms, worsened
from accord.damage.result import Damage
from accord.damage.terms import DAMAGE_GROUPS, damage_term
from accord.damage.wording import word
from accord.report.metric import Metric, plain
from accord.report.seeds import pooled
from accord.report.wording import interval, number

SAMPLES = 4
LONGEST_TEXT = 1000  # characters of a sample; all of it is in generations.jsonl


def damage_block(label: str, damages: Sequence[Damage], of_seed: str = "") -> dict[str, Any]:
    """What a repair broke: the main groups of measures, and all others apart.

    Args:
        damages: of each of its seeds; the sentence is that of the first.
        of_seed: the first seed by name, where there are several.
    """
    rows: dict[tuple[str, str], list[pd.Series]] = {}
    for damage in damages:
        for _, row in damage.table.iterrows():
            rows.setdefault((row["group"], row["measure"]), []).append(row)
    main = [key for key in rows if key[0] in DAMAGE_GROUPS]
    return {
        "label": label,
        "sentence": plain(damages[0].sentence),
        "of_seed": of_seed,
        "rows": [_row(rows[key], len(damages)) for key in main],
        "more": [_row(same, len(damages)) for key, same in rows.items() if key not in main],
        "worse": len(worsened(damages)),
        "of": max(len(table) for table in harms(damages)),
    }


def terms_of(blocks: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """What the measures of these tables mean, each once."""
    names = dict.fromkeys(row["measure"] for block in blocks for row in (*block["rows"], *block["more"]))
    terms = [damage_term(name) for name in names]
    return [{"label": t.label, "meaning": t.meaning, "defined": t.defined} for t in terms if t.meaning]


def samples(damages: Mapping[str, Damage]) -> list[dict[str, Any]]:
    """What the base model and every repaired one, by its label, wrote from the same beginnings."""
    tables = {label: damage.free for label, damage in damages.items() if len(damage.free)}
    shown = []
    for k, row in enumerate(next(iter(tables.values())).head(SAMPLES).to_dict("records") if tables else []):
        same = {label: t.iloc[k] for label, t in tables.items() if k < len(t) and t.iloc[k]["prompt"] == row["prompt"]}
        texts = [_text("before", row["base"]), *(_text(label, other["repaired"]) for label, other in same.items())]
        shown.append({"number": k + 1, "prompt": row["prompt"][:LONGEST_TEXT], "texts": texts})
    return shown


def _text(label: str, text: str) -> dict[str, Any]:
    return {"label": label, "text": text[:LONGEST_TEXT], "cut": max(0, len(text) - LONGEST_TEXT)}


def _row(rows: Sequence[pd.Series], seeds: int) -> dict[str, Any]:
    """A measure over seeds."""
    first = rows[0]
    change = pooled([Metric(row["change"], row["low"], row["high"]) for row in rows])
    base, repaired = (sum(row[side] for row in rows) / len(rows) for side in ("base", "repaired"))
    words = [word(row.to_dict()) for row in rows]
    hits = sum(one in ("worse", "moved") for one in words)
    return {
        "group": plain(DAMAGE_GROUPS.get(first["group"], first["group"])),
        "measure": first["measure"],
        "label": damage_term(first["measure"]).label,
        "base": number(base, _digits(change, base)),
        "repaired": number(repaired, _digits(change, repaired)),
        "change": _moved(change, base, ratio=first["change_is"] == "ratio"),
        "n": f"{first['n']:,}",
        "verdict": words[0] if words[0] == "neutral" else max(words) if 2 * hits >= seeds else "",
        "in_seeds": f"in {hits} of {seeds} seeds" if seeds > 1 and 0 < hits < seeds else "",
    }


def _moved(change: Metric, base: float, *, ratio: bool) -> dict[str, str]:
    """What changed, with its sign or as a factor."""
    if ratio:
        value, brackets = factor(change)
        return {"value": f"× {value}", "interval": brackets}
    if not change.known:
        return {"value": "–", "interval": ""}
    digits = _digits(change, base)
    sign = "+" if change.value > 0 and float(f"{change.value:.{digits}f}") else ""
    return {"value": sign + number(change.value, digits), "interval": interval(change, digits)}


def _digits(change: Metric, value: float) -> int:
    """Enough digits of a value to see its change, and no more."""
    if abs(value) >= 10:
        return 1
    return 3 if change.known and 0 < abs(change.value) < 0.02 else 2
