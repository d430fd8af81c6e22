"""Steering as the page shows it: dose curves, shares of concepts that act beside controls, texts side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from markupsafe import Markup

from accord.report import style
from accord.report.data import Metric
from accord.report.draw_steering import draw_doses
from accord.report.names_data import Named
from accord.report.steering_data import ARMS, SUMMARY, Given, Steered, at, given
from accord.report.steering_verdict import EXPECTED, acting, steering_findings
from accord.report.wording import amount, count, number, shown_token

FIGURES = ("promoted", "wanted", "label", "judge_nll", "repeated_4")
PROMPTS = 3
LONGEST = 600  # letters of a text
_TITLES = {
    "promoted": (
        "Promoted tokens",
        "mean change of their log-probability on held-out texts, nats; of random directions, of their own",
    ),
    "wanted": ("Texts with the wanted {label}", "mean change of their share"),
    "label": ("The {label} of texts", "mean change"),
}


def steering_shown(stages: Sequence[Steered], dictionaries: Sequence[Named], run: Path, key: str) -> dict[str, Any]:
    """All that `steering.html` shows."""
    names = {named.path.name: named for named in dictionaries}
    return {
        "findings": steering_findings(stages),
        "models": [_about(one, run) for one in stages],
        "figures": _figures(stages, key),
        "tables": [table for measure in EXPECTED if (table := _table(stages, measure))["rows"]],
        "samples": [sample for one in stages for sample in _samples(one, names.get(one.path.name))],
    }


def _about(one: Steered, run: Path) -> dict[str, Any]:
    floats, active = float(one.about["floats_per_concept"]), float(one.about["active_floats_per_token"])
    followed = one.effects.loc[one.effects["measure"] == "promoted", "concept"].nunique()
    written = one.effects.loc[one.effects["measure"] == "label", "concept"].nunique()
    said = [f"{count(followed, 'concept')} followed on held-out texts"] if followed else []
    said += [f"{count(written, 'concept')} steered while texts were written"] if written else []
    said.append(f"{count(int(floats), 'number')} a concept, {active:,.0f} active a token")
    path = (one.path / SUMMARY).relative_to(run).as_posix()
    return {"label": one.label, "href": f"./{quote(path)}", "words": "; ".join(said)}


def _figures(stages: Sequence[Steered], key: str) -> list[dict[str, Any]]:
    with style.house_style():
        drawn = [one for measure in FIGURES if (one := draw_doses(stages, measure)) is not None]
        return [
            {
                "name": d.name, "title": d.title, "caption": d.caption, "alt": d.alt, "wide": d.wide,
                # Safe to mark so: glyphs are outlines, and inline_svg takes matplotlib's comments out.
                "svg": Markup(style.inline_svg(d.figure, f"{key}-{d.name}")),
            }
            for d in drawn
        ]  # fmt: skip


def _table(stages: Sequence[Steered], measure: str) -> dict[str, Any]:
    """Shares that act and mean changes, dose by dose; models of the same dose stand under each other."""
    doses = sorted({dose for one in stages for dose in given(one.effects[one.effects["measure"] == measure])})
    rows = [row for dose in doses for one in stages if (row := _row(one, measure, dose)) is not None]
    title, change = (text.format(label=stages[0].scorer if stages else "") for text in _TITLES[measure])
    return {"key": measure, "title": title, "change": change, "rows": rows}


def _row(one: Steered, measure: str, dose: Given) -> dict[str, Any] | None:
    told = acting(one.effects, measure, dose)
    pooled = at(one.doses[one.doses["measure"] == measure], dose).set_index("control")
    if told is None or any(arm not in pooled.index for arm in ARMS):
        return None
    shares = []
    for arm in ARMS:
        low, high = told.interval(arm)
        shares.append({"value": f"{told.acting[arm]} of {told.n}", "interval": f"[{low:.0%}, {high:.0%}]", "note": ""})
    changes = [amount(Metric(*(float(str(pooled.loc[arm, end])) for end in ("value", "low", "high")))) for arm in ARMS]
    cells = [{"value": value, "interval": interval, "note": ""} for value, interval in changes]
    verdict = "too few" if told.lead is None else "yes" if told.lead else "no"
    per_float = amount(Metric(float(str(pooled.loc[ARMS[0], "per_float"])), float("nan"), float("nan")))[0]
    return {"dose": dose.words, "label": one.label, "shares": shares, "changes": cells, "lead": verdict,
            "per_float": per_float}  # fmt: skip


def _samples(one: Steered, named: Named | None) -> list[dict[str, Any]]:
    """Texts of the first prompts, of each concept at its largest dose, beside the controls and the unsteered text."""
    texts = one.samples
    if texts.empty:
        return []
    plain = texts[texts["control"] == "none"]
    own = texts[texts["concept"].notna()]
    names, typical = (named.names(), named.typical()) if named else ({}, {})
    promoted = {int(row["concept"]): row.get("promoted", []) for row in one.about.get("written", [])}
    shown = []
    for concept in dict.fromkeys(own["concept"]):
        rows = own[own["concept"] == concept]
        dose = given(rows)[-1]
        k = int(concept)
        shown.append(
            {
                "label": one.label,
                "concept": k,
                "href": f"#concept-{one.key}-{k}" if named is not None else "",
                "name": names.get(k, ""),
                "typical": typical.get(k, []),
                "tokens": [shown_token(str(token)) for token in promoted.get(k, [])[:8]],
                "dose": dose.words,
                "scorer": one.scorer,
                "prompts": [
                    {"prompt": str(prompt), "arms": _side_by_side(plain, at(rows, dose), prompt)}
                    for prompt in list(dict.fromkeys(rows["prompt"]))[:PROMPTS]
                ],
            }
        )
    return shown


def _side_by_side(plain: pd.DataFrame, steered: pd.DataFrame, prompt: object) -> list[dict[str, str]]:
    arms = [("not steered", plain), *((arm, steered[steered["control"] == arm]) for arm in ARMS)]
    found = []
    for arm, table in arms:
        rows = table[table["prompt"] == prompt].sort_values("index", kind="stable")
        if not rows.empty:
            row = rows.iloc[0]
            label = row.get("label")
            score = "" if label is None or label != label else number(float(label))
            found.append({"arm": arm, "text": str(row["text"])[:LONGEST], "score": score})
    return found
