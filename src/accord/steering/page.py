"""The chapter on steering: dose curves, shares of concepts that act beside controls, texts side by side."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from accord.names.meanings import concept_id, meanings
from accord.report import style
from accord.report.chapter import Chapter
from accord.report.drawn import on_page
from accord.report.links import href
from accord.report.metric import Metric, plain
from accord.report.wording import amount, count, number, shown_token
from accord.steering.figures import draw_doses
from accord.steering.findings import EXPECTED, count_acting, steering_findings
from accord.steering.result import Effects
from accord.steering.shown_doses import ARMS, ShownDose, doses_of, label_of, rows_at
from accord.study.run_folder import Run

FIGURES = ("promoted", "wanted", "label", "judge_nll", "repeated_4")
PROMPTS = 3
LONGEST = 600  # letters of a text
_KEY = "steering"
_TITLES = {
    "promoted": (
        "Promoted tokens",
        "mean change of their log-probability on held-out texts, nats; of random directions, of their own",
    ),
    "wanted": ("Texts with the wanted {label}", "mean change of their share"),
    "label": ("The {label} of texts", "mean change"),
}


def chapters(run: Run) -> list[Chapter]:
    """One, where the run steered concepts."""
    steered = run.of(Effects)
    if not steered:
        return []
    pooled = {label: effects.doses() for label, effects in steered.items()}
    with style.house_style():
        pictures = on_page((draw_doses(steered, pooled, measure) for measure in FIGURES), _KEY)
    content = {
        "findings": steering_findings(steered),
        "models": [_about(run, label, effects) for label, effects in steered.items()],
        "figures": pictures,
        "tables": [table for measure in EXPECTED if (table := _table(steered, pooled, measure))["rows"]],
        "samples": [sample for label, effects in steered.items() for sample in _samples(run, label, effects)],
    }
    return [Chapter(_KEY, "Steering", Path(__file__).parent / "page.html", content)]


def _about(run: Run, label: str, effects: Effects) -> dict[str, Any]:
    floats, active = float(effects.about["floats_per_concept"]), float(effects.about["active_floats_per_token"])
    concepts = effects.table.groupby("measure")["concept"].nunique()
    followed, texts = int(concepts.get("promoted", 0)), int(concepts.get("label", 0))
    words = [f"{count(followed, 'concept')} followed on held-out texts"] if followed else []
    words += [f"{count(texts, 'concept')} steered while texts were written"] if texts else []
    firing = number(active / floats, 1, bare=False) if floats else "no"
    written = f", which write through {active:,.0f} numbers" if floats > 1 else ""
    words.append(f"{count(int(floats), 'number')} a concept; on average {firing} concepts fire on a token{written}")
    link = href(run.place(f"steering/{label}") / "effects.json", run.folder)
    return {"label": plain(label), "href": link, "words": "; ".join(words)}


def _table(steered: Mapping[str, Effects], pooled: Mapping[str, pd.DataFrame], measure: str) -> dict[str, Any]:
    """Shares that act and mean changes, dose by dose; models of the same dose stand under each other."""
    tables = {label: effects.table[effects.table["measure"] == measure] for label, effects in steered.items()}
    means = {label: doses[doses["measure"] == measure] for label, doses in pooled.items()}
    doses = sorted({dose for table in tables.values() for dose in doses_of(table)})
    rows = [
        {"dose": dose.words, "label": plain(label), **row}
        for dose in doses
        for label, table in tables.items()
        if (row := _row(table, means[label], measure, dose)) is not None
    ]
    words = label_of(next(iter(steered.values())))
    title, change = (text.format(label=words) for text in _TITLES[measure])
    return {"key": measure, "title": title, "change": change, "rows": rows}


def _row(table: pd.DataFrame, means: pd.DataFrame, measure: str, dose: ShownDose) -> dict[str, Any] | None:
    acting = count_acting(table, measure, dose)
    arms = rows_at(means, dose).set_index("control")
    if acting is None or any(arm not in arms.index for arm in ARMS):
        return None
    shares = []
    for arm in ARMS:
        low, high = acting.interval(arm)
        shares.append(
            {"value": f"{acting.counts[arm]} of {acting.n}", "interval": f"[{low:.0%}, {high:.0%}]", "note": ""}
        )
    changes = [amount(Metric(*(float(str(arms.loc[arm, end])) for end in ("value", "low", "high")))) for arm in ARMS]
    return {
        "shares": shares,
        "changes": [{"value": value, "interval": interval, "note": ""} for value, interval in changes],
        "lead": "too few" if acting.lead is None else "yes" if acting.lead else "no",
        "per_float": amount(Metric(float(str(arms.loc[ARMS[0], "per_float"])), float("nan"), float("nan")))[0],
    }


def _samples(run: Run, label: str, effects: Effects) -> list[dict[str, Any]]:
    """Texts of the first prompts, of each concept at its largest dose, beside the controls and the unsteered text."""
    texts = pd.DataFrame(effects.texts)
    if texts.empty:
        return []
    unsteered, own = texts[texts["control"] == "none"], texts[texts["concept"].notna()]
    meant = meanings(run, label)
    promoted = {int(row["concept"]): row.get("promoted", []) for row in effects.about.get("written", [])}
    samples = []
    for concept in dict.fromkeys(own["concept"]):
        rows = own[own["concept"] == concept]
        dose = doses_of(rows)[-1]
        k = int(concept)
        samples.append(
            {
                "label": plain(label),
                "concept": k,
                "href": f"#{concept_id(label, k)}" if meant is not None else "",
                "name": meant.names.get(k, "") if meant is not None else "",
                "typical": meant.typical.get(k, []) if meant is not None else [],
                "tokens": [shown_token(str(token)) for token in promoted.get(k, [])[:8]],
                "dose": dose.words,
                "scorer": label_of(effects),
                "prompts": [
                    {"prompt": str(prompt), "arms": _side_by_side(unsteered, rows_at(rows, dose), prompt)}
                    for prompt in list(dict.fromkeys(rows["prompt"]))[:PROMPTS]
                ],
            }
        )
    return samples


def _side_by_side(unsteered: pd.DataFrame, steered: pd.DataFrame, prompt: object) -> list[dict[str, str]]:
    arms = [("not steered", unsteered), *((arm, steered[steered["control"] == arm]) for arm in ARMS)]
    texts = []
    for arm, table in arms:
        rows = table[table["prompt"] == prompt].sort_values("index", kind="stable")
        if not rows.empty:
            row = rows.iloc[0]
            label = row.get("label")
            score = "" if label is None or label != label else number(float(label))
            texts.append({"arm": arm, "text": str(row["text"])[:LONGEST], "score": score})
    return texts
