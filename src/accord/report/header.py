"""What the head of the page tells of a run: the models and tasks in it, and when it was measured."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from accord.report.metric import called, plain
from accord.study.run_folder import Run
from accord.study.trials import TRIALS


def models(run: Run) -> list[str]:
    """The models under study: those whose states were embedded, and those whose gap was measured."""
    embedded = _names(manifests(run), "embeddings", "model")
    return list(dict.fromkeys([*embedded, *_names(run.manifests.values(), "gap", "model")]))


def tasks(run: Run) -> list[str]:
    """The tasks whose gap was measured."""
    return _names(run.manifests.values(), "gap", "task")


def precision(run: Run) -> str:
    """In which precision the models ran: that of most stages, and which stages were made in another; or nothing.

    A kind of stage stands for all of its stages, where all were made in the same precision.
    """
    names: dict[str, dict[str, str]] = {}  # precision -> name of a stage -> its kind
    for name, manifest in run.manifests.items():
        if found := plain(str(manifest.get("facts", {}).get("dtype", ""))):
            names.setdefault(found, {})[plain(name)] = plain(manifest["stage"])
    first, *others = sorted(names, key=lambda found: -len(names[found])) or [""]

    of = Counter(kind for stages in names.values() for kind in stages.values())

    def told(other: str) -> str:
        here = Counter(names[other].values())
        each = [
            kind if here[kind] == of[kind] else name if here[kind] == 1 else f"{here[kind]} of {of[kind]} {kind}"
            for name, kind in names[other].items()
        ]
        return f"{', '.join(dict.fromkeys(each))} made in {other}"

    return "; ".join([first, *map(told, others)])


def date(run: Run) -> str:
    """The day on which the last stage ended, or nothing."""
    last = max((str(manifest.get("finished", "")) for manifest in manifests(run)), default="")
    return last[:10] if re.match(r"\d{4}-\d{2}-\d{2}", last) else ""


def manifests(run: Run) -> Iterator[dict[str, Any]]:
    """What the whole stages of a run, and those of a search's trials, say of themselves."""
    yield from run.manifests.values()
    for trial in sorted((run.folder / TRIALS).glob("[!.]*/")):
        yield from Run(trial).manifests.values()


def _names(manifests: Iterable[dict[str, Any]], stage: str, key: str) -> list[str]:
    """The different names that stages of a kind have in their settings under a key."""
    names = (called(manifest["settings"].get(key)) for manifest in manifests if manifest["stage"] == stage)
    return list(dict.fromkeys(filter(None, names)))
