"""What repairs broke, as their chapter shows it: a table for each repair, what its measures mean, free texts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from accord.damage.over_seeds import factor, harms, worsened
from accord.damage.result import Damage
from accord.damage.terms import DAMAGE_GROUPS, damage_term
from accord.damage.wording import word
from accord.report.links import label_key
from accord.report.metric import Metric, plain
from accord.report.seeds import pooled
from accord.report.wording import interval, number

SAMPLES = 4
LONGEST_TEXT = 1000  # characters of a sample; all of it is in generations.jsonl


def damage_shown(repairs: Mapping[str, Mapping[int, Damage | None]], leads: str) -> dict[str, Any]:
    """What page.html shows: a table for each repair of which damage was measured, and texts.

    Args:
        repairs: by label: seed -> what it broke, None where that was not measured.
        leads: label of the repair whose table comes first.
    """
    blocks = [
        _block(label, seeds) for label, seeds in repairs.items() if any(damage is not None for damage in seeds.values())
    ]
    blocks.sort(key=lambda block: block["label"] != leads)
    measures = dict.fromkeys(row["measure"] for block in blocks for row in (*block["rows"], *block["more"]))
    return {
        "template": str(Path(__file__).with_name("page.html")),
        "blocks": blocks,
        "terms": [term for measure in measures if (term := damage_term(measure)).meaning],
        "samples": samples({label: next(iter(seeds.values())) for label, seeds in repairs.items()}),
    }


def samples(lowest: Mapping[str, Damage | None]) -> list[dict[str, Any]]:
    """What the base model and every repaired one, by its label, wrote from the same beginnings."""
    tables = {label: damage.free for label, damage in lowest.items() if damage is not None and len(damage.free)}
    rows = []
    for k, row in enumerate(next(iter(tables.values())).head(SAMPLES).to_dict("records") if tables else []):
        same = {label: t.iloc[k] for label, t in tables.items() if k < len(t) and t.iloc[k]["prompt"] == row["prompt"]}
        texts = [_text("before", row["base"]), *(_text(label, other["repaired"]) for label, other in same.items())]
        rows.append({"number": k + 1, "prompt": row["prompt"][:LONGEST_TEXT], "texts": texts})
    return rows


def _block(label: str, seeds: Mapping[int, Damage | None]) -> dict[str, Any]:
    """What a repair broke: the main groups of measures, and all others apart; the sentence is the first seed's."""
    damages = {seed: damage for seed, damage in seeds.items() if damage is not None}
    first, tables = next(iter(damages)), list(damages.values())
    rows: dict[tuple[str, str], list[pd.Series]] = {}
    for damage in tables:
        for _, row in damage.table.iterrows():
            rows.setdefault((row["group"], row["measure"]), []).append(row)
    main = [key for key in rows if key[0] in DAMAGE_GROUPS]
    return {
        "label": label,
        "key": label_key(label),
        "sentence": plain(damages[first].sentence),
        "of_seed": f"seed {first}" if len(seeds) > 1 else "",
        "rows": [_row(rows[key], len(tables)) for key in main],
        "more": [_row(same, len(tables)) for key, same in rows.items() if key not in main],
        "worse": len(worsened(tables)),
        "of": max(len(table) for table in harms(tables)),
    }


def _text(label: str, text: str) -> dict[str, Any]:
    return {"label": label, "text": text[:LONGEST_TEXT], "cut": max(0, len(text) - LONGEST_TEXT)}


def _row(rows: Sequence[pd.Series], seeds: int) -> dict[str, Any]:
    """A measure over seeds."""
    first = rows[0]
    term = damage_term(first["measure"])
    change = pooled([Metric(row["change"], row["low"], row["high"]) for row in rows])
    base, repaired = (sum(row[side] for row in rows) / len(rows) for side in ("base", "repaired"))
    words = [word(row.to_dict()) for row in rows]
    hits = sum(verdict in ("worse", "moved") for verdict in words)
    return {
        "group": plain(DAMAGE_GROUPS.get(first["group"], first["group"])),
        "measure": first["measure"],
        "label": term.label,
        "place": term.place,
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
    return {"value": number(change.value, digits, signed=True), "interval": interval(change, digits)}


def _digits(change: Metric, value: float) -> int:
    """Enough digits of a value to see its change, and no more."""
    if abs(value) >= 10:
        return 1
    return 3 if change.known and 0 < abs(change.value) < 0.02 else 2
