"""The chapter on heads and their texts: perplexity under a judge, the heads' training, and texts side by side."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from accord.concepts.groups import concept_groups, names_of
from accord.heads.figures import draw_training
from accord.heads.result import HeadMetrics
from accord.heads.shown_rows import row_groups, row_meaning, row_place
from accord.perplexity.figures import draw_perplexity
from accord.perplexity.result import JudgedTexts, WrittenTexts
from accord.report import style
from accord.report.chapter import Chapter
from accord.report.drawn import Drawn, on_page
from accord.report.glossary import DISTINCT, PERPLEXITY, REPEATED, Term
from accord.report.metric import plain
from accord.report.seed_table import seed_table
from accord.report.seeds import SeedGroup, SeedResult, unseeded
from accord.report.wording import count
from accord.study.run_folder import Run

LONGEST = 1500  # characters of a sample text on the page; all of it is in texts.jsonl
SAMPLES = 5
REPETITIVE = 0.2  # share of repeated runs of four words from which a text is no longer read as text
_KEY = "perplexity"
_PERPLEXITY = "accord.lm.perplexity.Perplexity"
_HEADS = "accord.heads.train"
_DIVERSITY = "accord.text.diversity"
_NATS = "Σ −log p / tokens"

HEAD_TERMS: dict[str, Term] = {
    "held_out_ce": Term(
        "Held-out CE",
        "nats a token on texts the head was not trained on; lower is better",
        f"{_HEADS}.cross_entropy",
        _NATS,
    ),
    "start_ce": Term("At start", "the same before training", f"{_HEADS}.cross_entropy", _NATS),
    "unigram_ce": Term(
        "Frequencies only",
        "the same of a guess that knows nothing but how frequent tokens are",
        f"{_HEADS}.unigram_ce",
        "Σ −log f / tokens, f = (n + 1) / Σ (n + 1), n a token's count in the training texts",
    ),
    "seconds": Term("Seconds", "time to train", "metrics.json"),
}

TERMS: dict[str, Term] = {
    "judge_mean": Term(
        "Judge, mean",
        "mean of the texts' perplexities under the judge; one odd text counts a lot",
        _PERPLEXITY,
        "mean over texts of exp(Σ −log p / tokens)",
    ),
    "judge_weighted": Term(
        "Judge, by token", "perplexity of all tokens together under the judge", _PERPLEXITY, PERPLEXITY
    ),
    "own_perplexity": Term(
        "Own, held-out",
        "the model's own perplexity on real texts it has not seen: repetition does not help it",
        "accord.lm.perplexity.perplexity",
        PERPLEXITY,
    ),
    "distinct_1": Term(
        "Distinct-1", "different words as a share of all words", f"{_DIVERSITY}.distinct", DISTINCT.format("words")
    ),
    "distinct_2": Term(
        "Distinct-2", "the same of pairs of words", f"{_DIVERSITY}.distinct", DISTINCT.format("pairs of words")
    ),
    "distinct_3": Term(
        "Distinct-3", "the same of triples", f"{_DIVERSITY}.distinct", DISTINCT.format("triples of words")
    ),
    "repeated_4": Term(
        "Repeated-4",
        "share of a text's runs of four words that occurred before in it",
        f"{_DIVERSITY}.repeated",
        REPEATED,
    ),
}


def chapters(run: Run) -> list[Chapter]:
    """One, where the run has heads, or texts that its models wrote."""
    rows, heads = _rows(run), _heads(run)
    texts = {label: sample.table for label, sample in run.of(WrittenTexts).items() if len(sample.table)}
    if not (rows or heads or texts):
        return []
    with style.house_style():
        pictures = on_page((draw_perplexity(rows), draw_training(heads)), _KEY)
    shown = {
        "judges": list(dict.fromkeys(group.named("judge") for group in rows)),
        "written": sorted({count(int(n), "text") for group in rows for n in group.values("n") if n == n}),
        "remarks": perplexity_remarks(rows),
        "table": seed_table(run, rows, TERMS, row_meaning),
        "heads": seed_table(run, heads, HEAD_TERMS, row_meaning),
        "figures": pictures,
        "samples": _samples(texts, _concepts(run)),
    }
    gist = pictures[0]["title"] if pictures else ""
    terms = [*(TERMS.values() if rows else ()), *(HEAD_TERMS.values() if heads else ())]
    return [Chapter(_KEY, "Heads and their texts", Path(__file__).parent / "page.html", shown, gist=gist, terms=terms)]


def figures(run: Run) -> list[Drawn]:
    """Those of the chapter, as files; call it, and save what it gives, within `house_style()`."""
    pictures = (draw_perplexity(_rows(run)), draw_training(_heads(run)))
    return [figure for figure in pictures if figure is not None]


def perplexity_remarks(rows: Sequence[SeedGroup]) -> list[str]:
    """Rows whose perplexity cannot be taken at face value, and judges that differ."""
    remarks = []
    judges = list(dict.fromkeys(group.named("judge") for group in rows))
    if len(judges) > 1:
        remarks.append(f"Rows have different judges ({', '.join(judges)}): their numbers cannot be compared.")
    loops = [group for group in rows if group.metric("repeated_4").value >= REPETITIVE]
    if loops:
        labels = ", ".join(f"{group.label} ({group.metric('repeated_4').value:.0%})" for group in loops)
        remarks.append(f"Repetitive, so its perplexity flatters: {labels} of runs of four words are repeats.")
    lost = [(group, sum(v for v in group.values("unscored") if math.isfinite(v))) for group in rows]
    if any(n for _, n in lost):
        labels = ", ".join(f"{group.label} ({n:.0f})" for group, n in lost if n)
        remarks.append(f"Texts too short to be scored, and so in no mean: {labels}.")
    return remarks


def _concepts(run: Run) -> list[str]:
    return list(dict.fromkeys(names_of(concept_groups(run))))


def _rows(run: Run) -> list[SeedGroup]:
    results = (SeedResult(f"perplexity/{label}", texts.metrics) for label, texts in run.of(JudgedTexts).items())
    return row_groups(results, _concepts(run))


def _heads(run: Run) -> list[SeedGroup]:
    heads = run.of(HeadMetrics).items()
    results = (SeedResult(f"heads/{label}", head.metrics, head.curve) for label, head in heads)
    return row_groups(results, _concepts(run))


def _samples(texts: dict[str, pd.DataFrame], concepts: Sequence[str]) -> dict[str, Any]:
    """The first texts of every row, side by side, of the lowest seed that each row has.

    Args:
        texts: label of the stage -> its table.
        concepts: names of the concept models, in the order of the study.
    """
    first: dict[str, pd.DataFrame] = {}
    for label, table in sorted(texts.items(), key=lambda entry: int(entry[1]["seed"].iloc[0])):
        first.setdefault(unseeded(label), table)
    entries = [(plain(str(table["row"].iloc[0])), group, table) for group, table in first.items()]
    entries.sort(key=lambda entry: row_place(entry[0], concepts))
    alone = len({row for row, _, _ in entries}) == len(entries)
    tables = [
        (row if alone else group, table.drop_duplicates("index").set_index("index")) for row, group, table in entries
    ]
    indexes = sorted({i for _, table in tables for i in table.index})[:SAMPLES]
    return {
        "seeds": sorted({int(table["seed"].iloc[0]) for _, table in tables}),
        "texts": [
            {
                "number": int(i) + 1,
                "rows": [{"label": label} | _sample(table.loc[i]) for label, table in tables if i in table.index],
            }
            for i in indexes
        ],
    }


def _sample(row: pd.Series) -> dict[str, Any]:
    text = str(row["text"])
    end = "ended by itself" if bool(row["finished"]) else "stopped at the limit"
    return {
        "text": text[:LONGEST],
        "cut": max(0, len(text) - LONGEST),
        "size": f"{count(int(row['tokens']), 'token')}, {end}",
    }
