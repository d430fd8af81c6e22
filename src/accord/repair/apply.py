"""Any repair by its section: one way in for commands and studies, one folder out."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accord.arguments import checked
from accord.concepts.base import ConceptModel
from accord.lm.model import LanguageModel
from accord.progress import Progress
from accord.repair.config import Trained, check_task
from accord.repair.folder import base_name
from accord.repair.kept import kept_tasks
from accord.repair.learned import marks, marks_as_text
from accord.repair.surgery import operate
from accord.repair.trained import train
from accord.tasks import Task
from accord.tasks.as_read import read_by


@checked
def repair(
    lm: LanguageModel,
    task: Task,
    config: Any,
    *,
    folder: Path | str,
    seed: int = 0,
    base: str | None = None,
    concepts: tuple[ConceptModel, int] | None = None,
    texts: Sequence[str] | None = None,
    kept: Sequence[Task] | None = None,
    progress: Progress | None = None,
) -> float:
    """Repair a model and write the folder, which `accord.load` opens; returns the seconds that it took.

    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> from accord.repair import is_repaired, read_repair
    >>> lm, task = accord.load("smollm2-135m"), accord.task("hypernymy", split="train", limit=8)
    >>> settings = read_repair({"kind": "calibrate", "positions": 50})  # of ordinary text that it is weighed on
    >>> _ = repair(lm, task, settings, folder=(folder := Path(mkdtemp()) / "calibrated"))
    >>> is_repaired(folder)
    True

    Args:
        task: its training items.
        config: a section of `accord.repair.config`; `read_repair` makes one.
        base: what `accord.load` takes to open the model again, where `lm.name` is not that.
        concepts: a concept model and its layer, for kind "concepts".
        texts: ordinary text that should stay as it is, for kinds without training; the training side of movie-reviews
            by default.
        kept: the tasks that `config.keep` names, where it has that key and they are made already.

    Raises:
        AccordError: see `accord.repair.kept.kept_tasks`, `accord.repair.train` and `accord.repair.operate`.
    """
    begun, folder = time.monotonic(), Path(folder)
    check_task(task, config)
    kept = kept_tasks(getattr(config, "keep", ()), seed) if kept is None else kept
    task = read_by(lm.tokenizer, task)
    if isinstance(config, Trained):
        train(lm, task, config, folder=folder, seed=seed, base=base, kept=kept, progress=progress)
        last = (folder / "curve.jsonl").read_text(encoding="utf-8").splitlines()[-1]
        return float(json.loads(last)["seconds"])  # of an interrupted training too
    base = base_name(lm, base)
    fitted = operate(lm, task, config, concepts=concepts, seed=seed, texts=texts, kept=kept, progress=progress)
    about = {**lm.settings(), "task": task.settings, "repair": config.model_dump(), "seed": seed}
    if kept:
        about["kept"] = [other.name for other in kept]
    about["learned"] = marks_as_text(frozenset().union(*(marks(other) for other in (task, *kept))))
    fitted.save(folder, base=base, about=about)
    return time.monotonic() - begun
