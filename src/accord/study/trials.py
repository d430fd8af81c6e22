"""The trials of a search: drawn by Optuna, worked on by one process at a time, finished once, all of it on disk.

A process that works on a trial holds the lock of its folder, which the system opens when the process dies, however it
dies. So a trial that is begun and whose lock is free was left behind: whoever comes next goes on with it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from accord.disk import lock, read_object
from accord.errors import AccordError
from accord.study.ranges import Choices, Range
from accord.study.run_list import write_listed
from accord.study.search_config import SearchSection
from accord.unfinished import discard, passes_check, with_check

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial

TRIALS, JOURNAL, RESULT = "trials", "optuna.log", "trial.json"
_LEFT = 10  # seconds that one line of the journal never takes to write


@dataclass(frozen=True)
class SearchTrial:
    """A finished trial: its value, or the reason why it has none."""

    number: int
    values: Mapping[str, Any]
    value: float | None
    reason: str | None


@dataclass(frozen=True)
class Claim:
    """A trial that this process works on."""

    number: int
    values: Mapping[str, Any]
    folder: Path


class Trials:
    """The trials in a run folder."""

    def __init__(self, folder: Path, name: str, section: SearchSection, ranges: Sequence[Range]) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        optuna.logging.set_verbosity(optuna.logging.ERROR)  # its progress, and what would make it faster
        self.folder, self.section, self.ranges = folder, section, ranges
        journal = folder / TRIALS / JOURNAL
        journal.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.alone():
                self.study: Study = optuna.create_study(
                    # Besides `alone`, as another program of Optuna may write, too. A file that must not exist works on
                    # every file system, over the network too; that of a process which died is removed.
                    storage=JournalStorage(
                        JournalFileBackend(str(journal), JournalFileOpenLock(str(journal), grace_period=_LEFT))
                    ),
                    study_name=name,
                    direction=section.direction,
                    load_if_exists=True,
                )
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            fix = "remove it: trials are drawn again, and what is whole of them is not made again"
            raise AccordError("The list of trials is damaged.", where=journal, got=error, fix=fix) from error

    def alone(self) -> AbstractContextManager[None]:
        """Keep other processes from the list of trials for a moment."""
        return lock((self.folder / TRIALS).resolve(), wait=True)

    @contextmanager
    def claim(self, count: int) -> Iterator[Claim | None]:
        """A trial to work on: one that was left behind, or a new one while there are fewer than `count`; else None.

        The trial is this process's own within the `with`.
        """
        with ExitStack() as held:
            with self.alone():
                claim = self._left_behind(held) or self._new(count, held)
            yield claim

    def finish(self, claim: Claim, value: float | None, reason: str | None = None) -> None:
        """Record the value of a trial, or the reason why it failed."""
        from optuna.trial import TrialState

        record = {"trial": claim.number, "values": dict(claim.values), "value": value, "reason": reason}
        write_listed(claim.folder, {RESULT: json.dumps(with_check(record), indent=2, ensure_ascii=False) + "\n"})
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        with self.alone():  # one whose record was damaged is told already
            self.study.tell(claim.number, value, state=state, skip_if_finished=True)

    def finished(self) -> list[SearchTrial]:
        """The finished trials, the best first, and those that failed at the end."""
        finished = [self._read(trial) for trial in self._trials() if self._counts(trial)]
        sign = -1 if self.section.direction == "maximize" else 1
        return sorted(finished, key=lambda trial: (trial.value is None, sign * (trial.value or 0.0), trial.number))

    def place(self, number: int) -> Path:
        """The folder of a trial."""
        return self.folder / TRIALS / f"{number:04}"

    def _left_behind(self, held: ExitStack) -> Claim | None:
        for trial in self._trials():
            damaged = (self.place(trial.number) / RESULT).is_file() and self._record(trial) is None
            if (damaged or not trial.state.is_finished()) and self._hold(trial.number, held):
                if damaged:
                    discard(self.place(trial.number) / RESULT)
                if trial.params.keys() == {span.name for span in self.ranges}:
                    return Claim(trial.number, self._values(trial.params), self.place(trial.number))
                self._void(trial)
        return None

    def _new(self, count: int, held: ExitStack) -> Claim | None:
        trials = self._trials()
        if sum(self._counts(trial) or not trial.state.is_finished() for trial in trials) >= count:
            return None
        # By its number, so that a trial's draw does not depend on which process makes it, or how often.
        seed = np.random.SeedSequence([self.section.seed, len(trials)]).generate_state(1)[0]
        self.study.sampler = _sampler(self.section.sampler, int(seed))
        trial = self.study.ask({span.name: _distribution(span) for span in self.ranges})
        assert self._hold(trial.number, held)
        return Claim(trial.number, self._values(trial.params), self.place(trial.number))

    def _hold(self, number: int, held: ExitStack) -> bool:
        try:
            held.enter_context(lock(self.place(number).resolve()))
        except AccordError:
            return False
        return True

    def _void(self, trial: "FrozenTrial") -> None:
        """A trial of a process that died while drawing it is none: without a result in its folder it does not count."""
        from optuna.trial import TrialState

        self.study.tell(trial.number, state=TrialState.FAIL)

    def _counts(self, trial: "FrozenTrial") -> bool:
        return trial.state.is_finished() and self._record(trial) is not None

    def _record(self, trial: "FrozenTrial") -> dict[str, Any] | None:
        """What was recorded of a finished trial; None if there is nothing, or it is damaged."""
        try:
            record = read_object(self.place(trial.number) / RESULT, "values", "value", "reason")
        except AccordError:
            return None
        return record if passes_check(record) else None

    def _read(self, trial: "FrozenTrial") -> SearchTrial:
        record = self._record(trial)
        assert record is not None  # see `_counts`
        return SearchTrial(trial.number, record["values"], record["value"], record["reason"])

    def _trials(self) -> list["FrozenTrial"]:
        return self.study.get_trials(deepcopy=False)

    def _values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Choices are kept as they are spelled, since Optuna takes no lists."""
        return {
            span.name: json.loads(params[span.name]) if isinstance(span.values, Choices) else params[span.name]
            for span in self.ranges
        }


def _distribution(span: Range) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    values = span.values
    if isinstance(values, Choices):
        return CategoricalDistribution(values.spelled)
    if values.whole:
        return IntDistribution(int(values.low), int(values.top), log=values.log, step=int(values.step or 1))
    return FloatDistribution(float(values.low), float(values.top), log=values.log, step=values.step)


def _sampler(kind: str, seed: int) -> "BaseSampler":
    from optuna.samplers import GPSampler, RandomSampler, TPESampler

    if kind == "tpe":
        return TPESampler(seed=seed, constant_liar=True)  # trials under way count as bad: processes keep apart
    return GPSampler(seed=seed) if kind == "gp" else RandomSampler(seed)
