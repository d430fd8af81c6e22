"""What the head of the page tells of a run: the models and tasks in it, and when it was measured."""

import re
from collections.abc import Iterator
from typing import Any

from accord.report.metric import called
from accord.study.run import Run
from accord.study.trials import TRIALS


def models(run: Run) -> list[str]:
    """The models under study: those whose states were embedded, and those whose gap was measured."""
    embedded = [called(one["settings"].get("model")) for one in manifests(run) if one["stage"] == "embeddings"]
    measured = [called(one["settings"].get("model")) for one in run.manifests.values() if one["stage"] == "gap"]
    return list(dict.fromkeys(filter(None, [*embedded, *measured])))


def tasks(run: Run) -> list[str]:
    """The tasks whose gap was measured."""
    names = [called(one["settings"].get("task")) for one in run.manifests.values() if one["stage"] == "gap"]
    return list(dict.fromkeys(filter(None, names)))


def date(run: Run) -> str:
    """The day on which the last stage ended, or nothing."""
    last = max((str(one.get("finished", "")) for one in manifests(run)), default="")
    return last[:10] if re.match(r"\d{4}-\d{2}-\d{2}", last) else ""


def manifests(run: Run) -> Iterator[dict[str, Any]]:
    """What the whole stages of a run, and those of a search's trials, say of themselves."""
    yield from run.manifests.values()
    for trial in sorted((run.folder / TRIALS).glob("[!.]*/")):
        yield from Run(trial).manifests.values()
