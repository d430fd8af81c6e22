"""The gaps of a run, each with what its manifest says of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.gap.result import Gap
from accord.report.metric import called, plain
from accord.study.run_folder import Run


@dataclass(frozen=True)
class MeasuredGap:
    """A gap of a run, with what its manifest says of it."""

    gap: Gap
    label: str
    folder: Path
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The stage's own name: its folder."""
        return plain(self.label)

    @property
    def model(self) -> str:
        """The name of the model under study, or a phrase that fits where a name would stand."""
        return called(self.manifest["settings"].get("model")) or "the model"

    @property
    def task(self) -> str:
        """The name of the task, or else of the stage."""
        return called(self.manifest["settings"].get("task")) or self.name


def gaps_of(run: Run) -> list[MeasuredGap]:
    """The gaps of a run, in the order in which they were begun."""
    return [
        MeasuredGap(run[name], name.partition("/")[2], run.place(name), manifest)
        for name, manifest in run.manifests.items()
        if manifest["stage"] == "gap"
    ]
