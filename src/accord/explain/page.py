"""The chapter on the gap explained by concepts: the check first, then concepts, then single items."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from accord.explain.figures import draw_check, draw_shares
from accord.explain.findings import EXPECTED, RULE, explain_findings, random_sets, why_not
from accord.explain.result import Explanation
from accord.names.meanings import Meanings, concept_id, meanings
from accord.report import style
from accord.report.chapter import Chapter
from accord.report.drawn import on_page
from accord.report.links import href, label_key
from accord.report.metric import Metric, metric_of, plain
from accord.report.prompts import shared_beginning
from accord.report.wording import interval, number, p_value
from accord.study.run_folder import Run

FORMS = ("generator", "validator")
EACH = 8  # concepts of each end of the table; the others are folded
ONE_SIDED = 5
ITEMS = 12
LONGEST = 600  # letters of a prompt
_KEY = "explain"
_FIXED = "\N{NO-BREAK SPACE}"
Called = Callable[[int], dict[str, Any]]


def chapters(run: Run) -> list[Chapter]:
    """One, where the run explains a gap by concepts."""
    explained = run.of(Explanation)
    if not explained:
        return []
    with style.house_style():
        models = [_model(run, label, explanation) for label, explanation in explained.items()]
    return [
        Chapter(
            _KEY,
            "The gap, explained",
            Path(__file__).parent / "page.html",
            {"findings": explain_findings(explained), "models": models},
            brackets="of the explanation over items or random sets of concepts",
        )
    ]


def _model(run: Run, label: str, explanation: Explanation) -> dict[str, Any]:
    meant = meanings(run, label) or Meanings({}, {})

    def called(k: int) -> dict[str, Any]:
        link = f"#{concept_id(label, k)}" if k in meant.typical else ""
        return {"number": str(k), "name": meant.names.get(k, ""), "typical": meant.typical.get(k, []), "href": link}

    key = f"{_KEY}-{label_key(label)}"
    rows = [_concept(row, called(int(row["concept"]))) for row in _records(explanation.concepts)]
    ends = rows if len(rows) <= 2 * EACH else [*rows[:EACH], *rows[-EACH:]]
    return {
        "label": plain(label),
        "key": key,
        "href": href(run.place(f"explain/{label}") / "explain.json", run.folder),
        "about": _about(explanation.summary),
        "rule": RULE,
        "check": [_checked(what, check) for what, check in explanation.summary["check"].items() if what in EXPECTED],
        "checks": on_page([draw_check(label, explanation)], key),
        "shares": on_page([draw_shares(label, explanation, meant)], key),
        "rows": ends,
        "others": rows[EACH:-EACH] if len(rows) > 2 * EACH else [],
        "sides": _sides(explanation.concepts, called),
        "items": _items(explanation, called),
    }


def _about(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Counts, and how far the gradient can be trusted that chose the candidates."""
    facts = [("Items", f"{summary['items']:,}"), ("Concepts turned off one by one", str(summary["candidates"]))]
    for form, numbers in summary["approximation"].items():
        error, size = f"{numbers['mean_error']:.2g}", f"{numbers['mean_size']:.2g}"
        r = number(metric_of({"value": numbers["pearson"]}).value)
        words = f"r = {r} with the exact contributions; mean error {error} nats of {size}"
        facts.append((f"The gradient that chose them, {form}", words))
    return facts


def _checked(what: str, check: Mapping[str, Any]) -> dict[str, Any]:
    own, random = metric_of(check), random_sets(check)
    return {
        "set": {"against": "against agreement", "for": "for agreement", "largest": "largest contributions"}[what],
        "k": len(check["concepts"]),
        "measure": "change of r" if check["measure"] == "change" else "mean |change of l_V|, nats",
        "expected": EXPECTED[what][0],
        "own": {"value": number(own.value), "interval": interval(own), "note": ""},
        "random": {"value": number(random.value), "interval": interval(random), "note": ""},
        "draws": int(check["random"]),
        "p": p_value(float(check["p"])).removeprefix(f"p{_FIXED}").removeprefix(f"={_FIXED}"),
        "verdict": f"not told from random: {failed}" if (failed := why_not(check, what)) else "more than random",
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


def _sides(concepts: pd.DataFrame, called: Called) -> list[dict[str, Any]]:
    """Concepts that carry one form and not the other: those whose shares of the two differ most."""
    table = concepts.assign(lead=concepts["generator_share"] - concepts["validator_share"])
    sides = []
    for title, sign in (("Carry the generator more", 1), ("Carry the validator more", -1)):
        part = table[sign * table["lead"] > 0].sort_values("lead", ascending=sign < 0, kind="stable")
        rows = [
            {"concept": called(int(row["concept"])), "shares": [number(float(row[f"{f}_share"]), 3) for f in FORMS]}
            for row in _records(part.head(ONE_SIDED))
        ]
        sides.append({"title": title, "rows": rows})
    return sides


def _items(explanation: Explanation, called: Called) -> list[dict[str, Any]]:
    """The items whose log-odds lie furthest apart, in standard deviations of each form, and what made them so."""
    scores = explanation.scores
    z = {f: _standard(scores[f"{f}_logodds"]) for f in FORMS}
    order = np.argsort(-np.abs(z["generator"] - z["validator"]), kind="stable")[:ITEMS]
    shared = {form: shared_beginning(scores[f"{form}_prompt"].tolist()) for form in FORMS}
    parts = dict(list(explanation.items.groupby(["item", "form"])))
    entries = []
    for i in order.tolist():
        row = scores.iloc[i]
        more = "the completion" if z["generator"][i] > z["validator"][i] else "the answer to the question"
        forms = []
        for form in FORMS:
            prompt = str(row[f"{form}_prompt"]).removeprefix(shared[form])
            own = parts.get((i, form), explanation.items.head(0))
            forms.append(
                {
                    "form": form,
                    "prompt": prompt[-LONGEST:],
                    "logodds": number(float(row[f"{form}_logodds"]), bare=False),
                    "place": f"{number(float(z[form][i]), 1, bare=False, signed=True)} sd",
                    "rows": [
                        {"concept": called(int(r["concept"])), "strength": number(float(r["strength"])),
                         "contribution": number(float(r["contribution"]), signed=True)}
                        for r in _records(own)
                    ],
                }
            )  # fmt: skip
        entries.append({"answer": str(row["answer"]), "gold": bool(row["gold"]), "more": more, "forms": forms})
    return entries


def _standard(values: pd.Series) -> np.ndarray:
    numbers = values.to_numpy(dtype=float)
    return np.asarray((numbers - numbers.mean()) / (numbers.std() or 1.0))


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]
