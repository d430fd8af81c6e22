"""When and where the stages of a run were made: every session of each, in time, by machine and worker."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from accord.amounts import moment
from accord.report.metric import plain
from accord.study.run_folder import Run, capability_of

_BREAK = 60.0, 0.1  # seconds, and share of the time at work: where nobody works for longer than both, the run paused
_CUT = 0.02  # of the time at work: so much is left of a break


@dataclass(frozen=True)
class Making:
    """How a run was made.

    Attributes:
        sessions: a row for each: stage, capability, machine (its number), worker, session (of the stage, from 1), start
            and end (seconds since the run began; no end where it was killed). Of stages of earlier versions, none.
        machines: host -> its number, from 1, in the order in which they began.
        stages: name of each stage -> what its manifest says of it.
    """

    sessions: pd.DataFrame
    machines: Mapping[str, int]
    stages: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, run: Run) -> "Making":
        """That of a run folder."""
        rows = []
        for name, manifest in run.manifests.items():
            for number, span in enumerate(manifest.get("spans", []), 1):
                start, end = moment(span["started"]), moment(span.get("finished"))
                if start is not None:
                    rows.append(
                        {
                            "stage": plain(name),
                            "capability": plain(capability_of(manifest["stage"])),
                            "host": span.get("host", ""),
                            "worker": plain(span.get("worker", "")),
                            "session": number,
                            "start": start.timestamp(),
                            "end": None if end is None else max(end, start).timestamp(),
                        }
                    )
        columns = ["stage", "capability", "host", "worker", "session", "start", "end"]
        table = pd.DataFrame(rows, columns=columns).astype({"start": float, "end": float})
        table = table.sort_values(["start", "end"], kind="stable", ignore_index=True)
        machines = {host: i for i, host in enumerate(dict.fromkeys(table["host"]), 1)}
        table[["start", "end"]] -= table["start"].min()
        table.insert(2, "machine", table.pop("host").map(machines).astype(int))
        return cls(table, machines, run.manifests)

    @property
    def workers(self) -> int:
        """How many there were: pairs of machine and worker."""
        return len(self.sessions.groupby(["machine", "worker"]))

    @property
    def work(self) -> float:
        """Seconds of all sessions whose end is known, together."""
        return float((self.sessions["end"] - self.sessions["start"]).sum())

    def place(self, machine: int, worker: str) -> str:
        """What a machine and a worker are called, as far as that tells them from others; empty for the only one."""
        called = [f"machine {machine}"] if len(self.machines) > 1 else []
        return ", ".join([*called, *([worker] if worker else [])])

    def without_breaks(self) -> tuple[pd.DataFrame, list[tuple[float, float]]]:
        """The sessions in time without the run's breaks, in which nobody worked; of each break where it was, and how
        many seconds.

        A break is longer than a minute and than a tenth of the time at work; a fiftieth of that is left of each.
        """
        table = self.sessions.copy()
        reach = table["end"].fillna(table["start"]).cummax()
        gaps = (table["start"] - reach.shift(fill_value=0.0)).clip(lower=0.0)
        at_work = float(reach.max() - gaps.sum()) if len(table) else 0.0
        breaks = gaps[gaps > max(_BREAK[0], _BREAK[1] * at_work)]
        kept = _CUT * at_work
        cut = pd.Series(0.0, index=table.index)
        cut[breaks.index] = breaks - kept
        gone = cut.cumsum()  # rows are in the order of their starts, and none goes on over a break
        table[["start", "end"]] = table[["start", "end"]].sub(gone, axis=0)
        return table, [(float(table["start"][i]) - kept / 2, float(breaks[i])) for i in breaks.index]


def by_number(text: str) -> list[tuple[int, str]]:
    """To sort names by the numbers in them: "worker 2" before "worker 10"."""
    return [(int(word[:18]), "") if word.isdecimal() else (-1, word) for word in re.split(r"(\d+)", text)]
