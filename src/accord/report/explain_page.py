"""The gap told by concepts as the page shows it: the check first, then concepts, then single items."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from markupsafe import Markup

from accord.report import style
from accord.report.data import Metric
from accord.report.draw_explain import draw_check, draw_shares
from accord.report.drawn import Drawn
from accord.report.explain_data import FORMS, SUMMARY, Explained
from accord.report.explain_verdict import EXPECTED, explain_findings, metric, tested
from accord.report.gap_page import shared_beginning
from accord.report.names_data import Named
from accord.report.reading import as_number
from accord.report.steering_verdict import p_value
from accord.report.wording import interval, number

EACH = 8  # concepts of each end of the table; the others are folded
ONE_SIDED = 5
ITEMS = 12
LONGEST = 600  # letters of a prompt
_FIXED = "\N{NO-BREAK SPACE}"


def explain_shown(stages: Sequence[Explained], dictionaries: Sequence[Named], run: Path, key: str) -> dict[str, Any]:
    """All that `explain.html` shows."""
    named = {one.path.name: one for one in dictionaries}
    with style.house_style():
        models = [_model(one, named.get(one.path.name), run, f"{key}-{one.key}") for one in stages]
    return {"findings": explain_findings(stages), "models": models}


def _model(one: Explained, named: Named | None, run: Path, key: str) -> dict[str, Any]:
    names, typical = (named.names(), named.typical()) if named else ({}, {})

    def called(k: int) -> dict[str, Any]:
        href = f"#concept-{one.key}-{k}" if k in typical else ""
        return {"number": str(k), "name": names.get(k, ""), "typical": typical.get(k, []), "href": href}

    rows = [_concept(row, called(int(row["concept"]))) for row in _records(one.concepts)]
    ends = rows if len(rows) <= 2 * EACH else [*rows[:EACH], *rows[-EACH:]]
    return {
        "label": one.label,
        "key": key,
        "href": f"./{quote((one.path / SUMMARY).relative_to(run).as_posix())}",
        "about": _about(one),
        "check": [_checked(what, told) for what, told in one.summary["check"].items() if what in EXPECTED],
        "checks": _figures(key, draw_check(one)),
        "shares": _figures(key, draw_shares(one, names, typical)),
        "rows": ends,
        "others": rows[EACH:-EACH] if len(rows) > 2 * EACH else [],
        "sides": _sides(one, called),
        "items": _items(one, called),
    }


def _about(one: Explained) -> list[tuple[str, str]]:
    """Counts, and how far the gradient can be trusted that chose the candidates."""
    told = [("Items", f"{one.summary['items']:,}"), ("Concepts turned off one by one", str(one.summary["candidates"]))]
    for form, numbers in one.summary["approximation"].items():
        r, error, size = (as_number(numbers[k], k, one.path / SUMMARY) for k in ("pearson", "mean_error", "mean_size"))
        words = f"r = {number(r)} with the exact contributions; mean error {error:.2g} nats of {size:.2g}"
        told.append((f"The gradient that chose them, {form}", words))
    return told


def _checked(what: str, one: Mapping[str, Any]) -> dict[str, Any]:
    own = metric(one)
    random = Metric(*(as_number(one[f"random_{end}"], end, SUMMARY) for end in ("mean", "low", "high")))
    return {
        "set": {"against": "against agreement", "for": "for agreement", "largest": "largest contributions"}[what],
        "k": len(one["concepts"]),
        "measure": "change of r" if one["measure"] == "change" else "mean |change of l_V|, nats",
        "expected": EXPECTED[what][0],
        "own": {"value": number(own.value), "interval": interval(own), "note": ""},
        "random": {"value": number(random.value), "interval": interval(random), "note": ""},
        "draws": int(one["random"]),
        "p": p_value(float(one["p"])).removeprefix(f"p{_FIXED}").removeprefix(f"={_FIXED}"),
        "verdict": "more than random" if tested(one, what) else "not told from random",
    }


def _concept(row: Mapping[str, Any], called: Mapping[str, Any]) -> dict[str, Any]:
    pull = Metric(*(float(row[end]) for end in ("pull", "low", "high")))
    sure = "against" if pull.high < 0 else "for" if pull.low > 0 else ""
    return {
        "concept": called,
        "pull": {"value": number(pull.value, 3), "interval": interval(pull, 3), "note": ""},
        "sure": sure,
        "shares": [number(float(row[f"{form}_share"]), 3) for form in FORMS],
        "rates": [f"{float(row[f'{form}_rate']):.0%}" for form in FORMS],
    }


def _sides(one: Explained, called: Any) -> list[dict[str, Any]]:
    """Concepts that carry one form and not the other: those whose shares of the two differ most."""
    table = one.concepts.assign(lead=one.concepts["generator_share"] - one.concepts["validator_share"])
    found = []
    for title, sign in (("Carry the generator more", 1), ("Carry the validator more", -1)):
        part = table[sign * table["lead"] > 0].sort_values("lead", ascending=sign < 0, kind="stable")
        rows = [
            {"concept": called(int(row["concept"])), "shares": [number(float(row[f"{f}_share"]), 3) for f in FORMS]}
            for row in _records(part.head(ONE_SIDED))
        ]
        found.append({"title": title, "rows": rows})
    return found


def _items(one: Explained, called: Any) -> list[dict[str, Any]]:
    """The items whose log-odds lie furthest apart, in standard deviations of each form, and what made them so."""
    scores = one.scores
    z = {f: _standard(scores[f"{f}_logodds"]) for f in FORMS}
    order = np.argsort(-np.abs(z["generator"] - z["validator"]), kind="stable")[:ITEMS]
    shared = {form: shared_beginning(scores[f"{form}_prompt"].tolist()) for form in FORMS}
    parts = dict(list(one.items.groupby(["item", "form"])))
    shown = []
    for i in order.tolist():
        row = scores.iloc[i]
        more = "the completion" if z["generator"][i] > z["validator"][i] else "the answer to the question"
        forms = []
        for form in FORMS:
            prompt = str(row[f"{form}_prompt"]).removeprefix(shared[form])
            own = parts.get((i, form), one.items.head(0))
            forms.append(
                {
                    "form": form,
                    "prompt": prompt[-LONGEST:],
                    "logodds": number(float(row[f"{form}_logodds"]), bare=False),
                    "place": f"{z[form][i]:+.1f} sd".replace("-", "−"),
                    "rows": [
                        {"concept": called(int(r["concept"])), "strength": number(float(r["strength"])),
                         "contribution": _signed(float(r["contribution"]))}
                        for r in _records(own)
                    ],
                }
            )  # fmt: skip
        shown.append({"answer": str(row["answer"]), "gold": bool(row["gold"]), "more": more, "forms": forms})
    return shown


def _standard(values: pd.Series) -> np.ndarray:
    numbers = values.to_numpy(dtype=float)
    return np.asarray((numbers - numbers.mean()) / (numbers.std() or 1.0))


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + number(value)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def _figures(key: str, drawn: Drawn | None) -> list[dict[str, Any]]:
    if drawn is None:
        return []
    told = {name: getattr(drawn, name) for name in ("name", "title", "caption", "alt", "wide")}
    # Safe to mark so: glyphs are outlines, and inline_svg takes matplotlib's comments out.
    return [{**told, "svg": Markup(style.inline_svg(drawn.figure, f"{key}-{drawn.name}"))}]
