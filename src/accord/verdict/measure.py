"""Is the gap closed? A base and a repaired model on the same items, from those like the training items to the strange.

What a repair is tried on, in order of distance: test items whose words occur in training; categories that never do;
words that never do; other phrasings of either form; other tasks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from accord.gap.change import compare
from accord.gap.corrected import with_base
from accord.progress import Progress
from accord.repair.learned import left_out, unlearned
from accord.spread import apart, onward
from accord.tasks import Task
from accord.verdict.result import Verdict

if TYPE_CHECKING:
    from accord.lm import LanguageModel

NEAREST = "test"
_NESTED = {
    "test": "test items",
    "test-unseen-hypernyms": "unseen categories",
    "test-unseen-both": "unseen words",
}
_SINGLE = {"random": "test items", "unseen-hypernyms": "unseen categories", "unseen-both": "unseen words"}


@dataclass(frozen=True)
class Trial:
    """Items that a repair is tried on; `title` says in words how they differ from the training items."""

    name: str
    title: str
    task: Task


MakeTask = Callable[..., Task]
"""Makes the task with these keys of `accord.task` (split, split_kind, generator_phrasing, …) in place of its own."""


def trials_of(
    make: MakeTask,
    *,
    split_kind: str,
    phrasings: Mapping[str, Sequence[str]],
    limit: int | None,
    phrasing_limit: int | None,
    others: Mapping[str, Task] | None = None,
    learned: frozenset[str] = frozenset(),
) -> list[Trial]:
    """The trials of a task.

    Args:
        split_kind: as the repair had it; a nested split gives three trials.
        phrasings: form ("generator", "validator") -> the other phrasings it is tried with, on items of "test".
        limit, phrasing_limit: items of each trial, and of each with another phrasing.
        others: other tasks, by name.
        learned: marks of items that no trial may have, see `accord.repair.learned`; titles say how many were left out.

    Raises AccordError as `accord.task` and `accord.repair.learned.unlearned` do.
    """

    def trial(name: str, title: str, **keys: Any) -> Trial:
        return _titled(name, title, unlearned(make, learned, split_kind=split_kind, **keys))

    splits = _NESTED if split_kind == "nested" else {NEAREST: _SINGLE[split_kind]}
    trials = [trial(split, title, split=split, limit=limit) for split, title in splits.items()]
    for form, names in phrasings.items():
        for name in names:
            keys = {"split": NEAREST, "limit": phrasing_limit, f"{form}_phrasing": name}
            trials.append(trial(f"{form}-{name}", f"{form} worded “{name}”", **keys))
    trials += [_titled(f"task-{name}", f"task {name}", task) for name, task in (others or {}).items()]
    return trials


def _titled(name: str, title: str, task: Task) -> Trial:
    left = left_out(task)
    return Trial(name, title if left is None else f"{title} {left}", task)


def score_trials(
    lm: "LanguageModel",
    trials: Sequence[Trial],
    *,
    parts: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, pd.DataFrame]:
    """The score table of every trial (see `accord.measure_gap`): name of the trial -> table.

    Args:
        parts: a folder for finished parts; what is whole there already is not computed again.
        progress: called with (items done, items in all).
    """
    from accord.gap import measure_gap

    progress = onward(progress)
    ends = list(accumulate((len(trial.task.items) for trial in trials), initial=0))

    def scored(trial: Trial, begun: int) -> pd.DataFrame:
        def report(now: int, _: int) -> None:
            if progress:
                progress(begun + now, ends[-1])

        folder = None if parts is None else parts / trial.name
        return measure_gap(lm, trial.task, resamples=0, parts=folder, progress=report).scores

    tables = apart([partial(scored, trial, begun) for trial, begun in zip(trials, ends, strict=False)])
    return {trial.name: table for trial, table in zip(trials, tables, strict=True)}


def judge(
    before: Mapping[str, pd.DataFrame],
    after: Mapping[str, pd.DataFrame],
    trials: Sequence[Trial],
    *,
    about: Mapping[str, Any] | None = None,
) -> Verdict:
    """Compare the score tables of a base and of a repaired model.

    Args:
        about: what the verdict says of the repair, see `Verdict.about`.

    Raises AccordError if they are not of the same items.
    """
    return Verdict(
        {trial.name: compare(before[trial.name], after[trial.name]) for trial in trials},
        {trial.name: trial.title for trial in trials},
        {trial.name: len(trial.task.items) for trial in trials},
        {trial.name: with_base(after[trial.name], before[trial.name]) for trial in trials},
        about or {},
    )
