"""The concept models and the perplexities as the page shows them: every number already put into words."""

from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from markupsafe import Markup

from accord.report import style
from accord.report.concepts_data import ConceptLine, Stage, Texts
from accord.report.concepts_figures import CONCEPT_FIGURES, PERPLEXITY_FIGURES, Draw, draw_line
from accord.report.concepts_glossary import CONCEPT_TERMS, HEAD_TERMS, PERPLEXITY_TERMS
from accord.report.concepts_groups import Group, concept_groups, row_groups, row_meaning, row_place
from accord.report.concepts_verdict import concept_findings, perplexity_remarks
from accord.report.data import METRICS, Metric
from accord.report.gap_page import flat
from accord.report.glossary import Term
from accord.report.wording import amount, capital, count

LONGEST = 1500  # characters of a sample text on the page; all of it is in texts.jsonl
SAMPLES = 5
_HARD = ("r2_hard", "ce_recovered_hard")
_NO_GATES = "–"
_CORPUS_NAMES = {
    "held_out": "texts held out",
    "duplicates": "texts that repeat another",
    "rejected": "texts rejected",
    "held_out_tokens": "tokens held out",
    "train_tokens": "tokens trained on",
    "said": "in short",
}

Cells = list[dict[str, str]]


def concepts_shown(line: ConceptLine, run: Path, key: str) -> dict[str, Any]:
    """All that `concepts.html` shows."""
    groups = concept_groups(line)
    gated = any(group.gated for group in groups)
    terms = {name: what for name, what in CONCEPT_TERMS.items() if gated or name not in _HARD}
    return {
        "findings": concept_findings(groups),
        "corpus": [_in_words(name, text) for name, text in flat(line.corpus)],
        "table": _table(groups, terms, run) | {"gated": gated},
        "figures": _figures(line, CONCEPT_FIGURES, key),
        "left_out": line.left_out,
    }


def perplexity_shown(line: ConceptLine, run: Path, key: str) -> dict[str, Any]:
    """All that `perplexity.html` shows: judged rows, heads, sample texts."""
    concepts = concept_groups(line)
    groups, heads = row_groups(line.perplexity, concepts), row_groups(line.heads, concepts)
    return {
        "findings": [],
        "judges": list(dict.fromkeys(group.named("judge") for group in groups)),
        "written": sorted({count(int(n), "text") for g in groups for n in g.values("n") if n == n}),
        "remarks": perplexity_remarks(groups) if groups else [],
        "table": _table(groups, PERPLEXITY_TERMS, run),
        "heads": _table(heads, HEAD_TERMS, run),
        "figures": _figures(line, PERPLEXITY_FIGURES, key),
        "samples": _samples(line.texts, list(dict.fromkeys(group.named("name") for group in concepts))),
        "left_out": [] if line.concepts else line.left_out,
    }


def _in_words(name: str, value: str) -> tuple[str, str]:
    """A fact of the corpus without the signs of its file: `rejected.too_short` -> `Rejected, too short`."""
    name = capital(_CORPUS_NAMES.get(name, name.replace("_", " ").replace(".", ", ")))
    value = "none" if value in ("{}", "[]", "null", "") else value
    return name, f"{int(value):,}" if value.isdecimal() else value


def _table(groups: Sequence[Group], terms: Mapping[str, Term], run: Path) -> dict[str, Any]:
    """A table over seeds, the same seed by seed, and what its columns mean."""
    sizes = {len(group.stages) for group in groups}
    return {
        "terms": list(terms.values()),
        "rows": [_row(group, terms) for group in groups],
        "each": [_seed_row(group, stage, terms, run) for group in groups for stage in group.stages],
        "single": sizes == {1},
        "some_single": 1 in sizes and len(sizes) > 1,
    }


def _row(group: Group, terms: Mapping[str, Term]) -> dict[str, Any]:
    row = group.stages[0].names.get("row", "")
    what = row_meaning(row) if row else _built(group)
    return {
        "label": group.label,
        "what": what,
        "seeds": len(group.stages),
        "cells": [_cell(group, name, whole=term.whole) for name, term in terms.items()],
    }


def _built(group: Group) -> str:
    """What the label of a concept model does not say of its kind and layer."""
    layer = f"layer {group.named('layer')}"
    said = [group.named("kind") if group.named("kind") != group.named("name") else "", layer]
    return ", ".join(part for part in said if part and part not in group.label)


def _cell(group: Group, name: str, *, whole: bool) -> dict[str, str]:
    if name in _HARD and not group.gated:
        return {"value": _NO_GATES, "interval": "", "note": ""}
    values, metric = group.values(name), group.metric(name)
    known = sum(1 for v in values if v == v)
    if not known:
        return {"value": _NO_GATES, "interval": "", "note": ""}
    if whole:
        return {"value": f"{metric.value:,.0f}", "interval": "", "note": ""}
    value, interval = amount(metric)
    return {"value": value, "interval": interval, "note": f"{known} of {len(values)}" if known < len(values) else ""}


def _seed_row(group: Group, stage: Stage, terms: Mapping[str, Term], run: Path) -> dict[str, Any]:
    one = Group(group.label, [stage])
    cells = [_cell(one, name, whole=term.whole) for name, term in terms.items()]
    if "judge_mean" in terms:  # of one seed there is no interval over seeds, but there is one over its texts
        low, high = stage.numbers["judge_mean_low"], stage.numbers["judge_mean_high"]
        cells[0]["interval"] = amount(Metric(stage.numbers["judge_mean"], low, high))[1]
    path = (stage.path / METRICS).relative_to(run).as_posix()
    return {"label": group.label, "seed": stage.seed, "href": "./" + quote(path), "cells": cells}


def _figures(line: ConceptLine, which: tuple[Draw, ...], key: str) -> list[dict[str, Any]]:
    with style.house_style():
        return [
            {
                "name": d.name, "title": d.title, "caption": d.caption, "alt": d.alt, "wide": d.wide,
                # Safe to mark so: glyphs are outlines, and inline_svg takes matplotlib's comments out.
                "svg": Markup(style.inline_svg(d.figure, f"{key}-{d.name}")),
            }
            for d in draw_line(line, which)
        ]  # fmt: skip


def _samples(texts: Sequence[Texts], concepts: Sequence[str]) -> dict[str, Any]:
    """The first texts of every row, side by side, of the lowest seed that each row has."""
    first: dict[str, Texts] = {}
    for one in sorted(texts, key=lambda t: t.seed):
        first.setdefault(one.group, one)
    rows = sorted(first.values(), key=lambda t: row_place(t.row, concepts))
    alone = len({t.row for t in rows}) == len(rows)
    tables = [(t.row if alone else t.group, t.seed, t.table.drop_duplicates("index").set_index("index")) for t in rows]
    indexes = sorted({i for _, _, table in tables for i in table.index})[:SAMPLES]
    return {
        "seeds": sorted({seed for _, seed, _ in tables}),
        "texts": [
            {
                "number": int(i) + 1,
                "rows": [{"label": label} | _sample(table.loc[i]) for label, _, table in tables if i in table.index],
            }
            for i in indexes
        ],
    }


def _sample(row: pd.Series) -> dict[str, Any]:
    text, tokens = str(row["text"]), row["tokens"]
    size = count(int(float(tokens)), "token") if isinstance(tokens, Real) and tokens == tokens else ""
    return {
        "text": text[:LONGEST],
        "cut": max(0, len(text) - LONGEST),
        "size": size + (", ended by itself" if bool(row["finished"]) else ", stopped at the limit") if size else "",
    }
