"""The plan of a run, kept in its folder: what is done and what is not can then be told without planning again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from accord.disk import as_json, read_object, sha256
from accord.errors import AccordError
from accord.study import provenance
from accord.study.run_list import kept_list, write_listed
from accord.study.stage import Stage

PLAN = "plan.json"  # in the run folder


@dataclass(frozen=True)
class KeptPlan:
    """What the last `accord run` of a folder had to do.

    Attributes:
        command: the command line, as typed.
        stages: name of a stage -> fingerprint of its recipe, in the order in which they run.
    """

    command: str
    stages: Mapping[str, str]


def keep_plan(stages: Sequence[Stage], folder: Path) -> None:
    """Write the plan of a run into its folder, which is there."""
    prints = {stage.name: stage.recipe.fingerprint for stage in stages}
    write_listed(folder, {PLAN: as_json({"command": provenance.command(), "stages": prints})})


def read_plan(folder: Path) -> KeptPlan | None:
    """The plan kept in a run folder; None where there is none that can be read, or it was changed."""
    try:
        now = sha256(folder / PLAN)
        if kept_list(folder).files.get(PLAN, now) != now:
            return None
        content = read_object(folder / PLAN, "command", "stages")
        for name in content["stages"]:
            name.encode()  # half a character names no folder
        return KeptPlan(str(content["command"]), {str(name): str(of) for name, of in content["stages"].items()})
    except (AccordError, AttributeError, TypeError, UnicodeEncodeError, OSError):
        return None
