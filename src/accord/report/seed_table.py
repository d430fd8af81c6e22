"""The table of numbers over seeds, the same seed by seed, and what its columns mean: for the macro `over_seeds`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from accord.report.glossary import Term
from accord.report.links import href
from accord.report.metric import Metric
from accord.report.seeds import SeedGroup
from accord.report.wording import amount
from accord.study.run_folder import Run

_NONE = "–"
Meant = Callable[[SeedGroup, str], bool]


def seed_table(
    run: Run,
    groups: Sequence[SeedGroup],
    terms: Mapping[str, Term],
    describe: Callable[[SeedGroup], str],
    meant: Meant = lambda group, name: True,
) -> dict[str, Any]:
    """A row a group, and a row a seed.

    Args:
        describe: says what the label of a group does not.
        meant: whether a number means anything for a group; a dash stands for one that does not.
    """
    sizes = {len(group.results) for group in groups}
    return {
        "terms": list(terms.values()),
        "rows": [
            {
                "label": group.label,
                "what": describe(group),
                "seeds": len(group.results),
                "cells": [_mean(group, name, term, meant) for name, term in terms.items()],
            }
            for group in groups
        ],
        "each": [row for group in groups for row in _each(run, group, terms, meant)],
        "single": sizes == {1},
        "some_single": 1 in sizes and len(sizes) > 1,
    }


def _mean(group: SeedGroup, name: str, term: Term, meant: Meant) -> dict[str, str]:
    values = group.values(name)
    known = sum(1 for v in values if v == v)
    if not known or not meant(group, name):
        return _cell(None, term)
    return _cell(group.metric(name), term, f"{known} of {len(values)}" if known < len(values) else "")


def _each(run: Run, group: SeedGroup, terms: Mapping[str, Term], meant: Meant) -> list[dict[str, Any]]:
    rows = []
    for result in group.results:
        metrics = {name: result.metric(name) for name in terms}
        known = {name: metric for name, metric in metrics.items() if metric.value == metric.value}
        cells = [_cell(known.get(name) if meant(group, name) else None, term) for name, term in terms.items()]
        link = href(run.place(result.stage) / "metrics.json", run.folder)
        rows.append({"label": group.label, "seed": result.seed, "href": link, "cells": cells})
    return rows


def _cell(metric: Metric | None, term: Term, note: str = "") -> dict[str, str]:
    if metric is None:
        return {"value": _NONE, "interval": "", "note": ""}
    if term.whole:
        return {"value": f"{metric.value:,.0f}", "interval": "", "note": ""}
    value, interval = amount(metric)
    return {"value": value, "interval": interval, "note": note}
