"""Whether the names of concepts say what the concepts do, in a plain sentence for each dictionary."""

import math
from collections.abc import Mapping
from typing import Any

from accord.names.result import NamedDictionary
from accord.report.finding import Finding
from accord.report.metric import metric_in, plain
from accord.report.wording import capital, count, measured, number
from accord.study.run_folder import Run

TASKS = ("detection", "fuzzing")
FEWEST = 10  # concepts; an interval over fewer says next to nothing


def findings(run: Run) -> list[Finding]:
    """One for each dictionary of a run whose names were scored."""
    found = (names_finding(plain(label), named) for label, named in run.of(NamedDictionary).items())
    return [finding for finding in found if finding is not None]


def names_finding(label: str, named: NamedDictionary) -> Finding | None:
    """By the intervals of what a concept's own name scores above another concept's name.

    None where names were not scored.
    """
    gains = {task: metric_in(named.metrics, f"{task}_gain") for task in TASKS}
    known = {task: gain for task, gain in gains.items() if gain.known}
    if not known:
        return None
    more = [task for task, gain in known.items() if gain.low > 0]
    less = [task for task, gain in known.items() if gain.high < 0]
    of = f"of {label}'s concepts"
    by = f"Names given by {annotator(named) or 'the annotator'}"
    if min(_concepts(named, task) for task in known) < FEWEST:
        headline = f"{by} are too few to say whether they fit {label}'s concepts"
    elif len(more) == len(known):
        headline = f"{by} say more {of} than shuffled names do"
    elif more and not less:
        rest = " and ".join(task for task in known if task not in more)
        headline = f"{by} say more {of} than shuffled names do in {' and '.join(more)}, not measurably in {rest}"
    elif less:
        headline = f"{by} fit {label}'s concepts worse than shuffled names do in {' and '.join(less)}"
    else:
        headline = f"{by} cannot be told from shuffled names for {label}'s concepts"
    evidence = f"{capital('; '.join(_evidence(named, task) for task in known))}."
    return Finding(
        headline, evidence, f"{capital('; '.join(_details(named, task) for task in known))}. {coverage(named)}"
    )


def _evidence(named: NamedDictionary, task: str) -> str:
    """`detection .56 against .48 of shuffled names (100 concepts)`."""
    own, other = (metric_in(named.metrics, f"{task}{end}") for end in ("", "_shuffled"))
    n = count(_concepts(named, task), "concept")
    return f"{task} {number(own.value)} against {number(other.value)} of shuffled names ({n})"


def _details(named: NamedDictionary, task: str) -> str:
    own, gain = metric_in(named.metrics, task), metric_in(named.metrics, f"{task}_gain")
    return f"{task}, balanced accuracy {measured(own)}, difference from shuffled names {measured(gain)}"


def _concepts(named: NamedDictionary, task: str) -> int:
    return int(named.metrics[f"{task}_gain"]["n"])


def annotator(named: NamedDictionary) -> str:
    """Who gave the names."""
    return plain(str(named.metrics.get("annotator", "")))


def coverage(named: NamedDictionary) -> str:
    """How many concepts there are, were asked for a name, and have one."""
    live, chosen, with_name, failed = (named.metrics[name] for name in ("live", "asked", "named", "failed"))
    words = f"{with_name:,} of {count(chosen, 'concept')} asked have a name"
    if failed:
        words += f", {failed:,} have none for a listed reason"
    return words + (f"; {live:,} are live." if live > chosen else ".")


def mean_score(row: Mapping[str, Any]) -> float:
    """The mean of a concept's scores, NaN where it has none.

    >>> mean_score({"detection": 0.8, "fuzzing": None})
    0.8
    """
    values = [float(str(row[task])) for task in TASKS if row.get(task) is not None]
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan
