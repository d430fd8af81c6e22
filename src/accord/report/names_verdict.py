"""Whether the names of concepts say what the concepts do, in a plain sentence for each dictionary."""

import math

from accord.report.finding import Finding
from accord.report.names_data import TASKS, Named
from accord.report.wording import capital, count, measured, number

FEWEST = 10  # concepts; an interval over fewer says next to nothing


def names_finding(named: Named) -> Finding | None:
    """By the intervals of what a concept's own name scores above another concept's name.

    None where names were not scored.
    """
    gains = {task: named.score(f"{task}_gain") for task in TASKS if f"{task}_gain" in named.scores}
    known = {task: gain for task, gain in gains.items() if gain.known}
    if not known:
        return None
    more = [task for task, gain in known.items() if gain.low > 0]
    less = [task for task, gain in known.items() if gain.high < 0]
    of = f"of {named.label}'s concepts"
    by = f"Names given by {named.annotator or 'the annotator'}"
    if min(named.scores[f"{task}_gain"][1] for task in known) < FEWEST:
        headline = f"{by} are too few to say whether they fit {named.label}'s concepts"
    elif len(more) == len(known):
        headline = f"{by} say more {of} than shuffled names do"
    elif more and not less:
        rest = " and ".join(task for task in known if task not in more)
        headline = f"{by} say more {of} than shuffled names do in {' and '.join(more)}, not measurably in {rest}"
    elif less:
        headline = f"{by} fit {named.label}'s concepts worse than shuffled names do in {' and '.join(less)}"
    else:
        headline = f"{by} cannot be told from shuffled names for {named.label}'s concepts"
    evidence = f"{capital('; '.join(_evidence(named, task) for task in known))}."
    return Finding(
        headline, evidence, f"{capital('; '.join(_details(named, task) for task in known))}. {coverage(named)}"
    )


def _evidence(named: Named, task: str) -> str:
    """`detection .56 against .48 of shuffled names (100 concepts)`."""
    own, other = (named.score(f"{task}{end}") for end in ("", "_shuffled"))
    n = named.scores[f"{task}_gain"][1]
    return f"{task} {number(own.value)} against {number(other.value)} of shuffled names ({count(n, 'concept')})"


def _details(named: Named, task: str) -> str:
    own, gain = named.score(task), named.score(f"{task}_gain")
    return f"{task}, balanced accuracy {measured(own)}, difference from shuffled names {measured(gain)}"


def coverage(named: Named) -> str:
    """How many concepts there are, were asked for a name, and have one."""
    live, asked = named.counts["live"], named.counts["asked"]
    said = f"{named.counts['named']:,} of {count(asked, 'concept')} asked have a name"
    if named.counts["failed"]:
        said += f", {named.counts['failed']:,} have none for a listed reason"
    return said + (f"; {live:,} are live." if live > asked else ".")


def mean_score(row: dict[str, object]) -> float:
    """The mean of a concept's scores, NaN where it has none."""
    values = [float(str(row[task])) for task in TASKS if row.get(task) is not None]
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan
