"""Train a repair: a language model, a task's training items and a section in; a folder of the repaired model out."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accord.arguments import checked
from accord.disk import read_object
from accord.errors import AccordError
from accord.gap.questions import LabelWords, contexts_of
from accord.kinds import code_of
from accord.lm.model import LanguageModel
from accord.loading import load
from accord.progress import Progress
from accord.repair.config import KINDS, SFT, Trained, check_task, read_repair
from accord.repair.folder import base_name
from accord.repair.keeping import Keeping
from accord.repair.kept import check_apart, kept_tasks
from accord.repair.label_mass import check_label_mass
from accord.repair.learned import marks, marks_as_text
from accord.repair.loop import fit
from accord.repair.lora import check_base, trainable
from accord.repair.method import Method
from accord.repair.result import DESCRIPTION, is_repaired
from accord.tasks import Task
from accord.tasks.as_read import read_by

# Prompts that are kept with a repair, for those who later ask whether merging changed what it says.
_KEPT_PROMPTS = 8


@checked
def train(
    lm: LanguageModel | str,
    task: Task,
    config: Trained | Mapping[str, Any],
    *,
    folder: Path | str,
    seed: int = 0,
    base: str | None = None,
    kept: Sequence[Task] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Repair a model by training; the folder, which `accord.load` opens. The model itself stays as it was.

    A killed call goes on from its last checkpoint in `folder` when called again, and ends with the same bytes;
    a finished one is left as it is.

    Args:
        lm: a backbone, or what `accord.load` takes.
        task: its training items.
        config: a section of `accord.repair.config`, or its keys: `{"kind": "rankalign"}`.
        seed: of the adapter's first weights, the order of items, and the dropout.
        base: what `accord.load` takes to open the model again, where `lm.name` is not that.
        kept: the tasks that `config.keep` names, where they are made already.
        progress: called with (work done, work in all), first as base scores are measured, then by steps.

    Raises:
        AccordError: the folder holds another repair; the label words get too little probability; the model, the task or
            a key does not fit; a kept task is none that can be kept, or has items of `task`; the loss is not finite.
    """
    section = read_repair(dict(config)) if isinstance(config, Mapping) else config
    folder = Path(folder)
    model = load(lm) if isinstance(lm, str) else lm
    check_task(task, section)
    task, base = read_by(model.tokenizer, task), base_name(model, base)
    kept = kept_tasks(section.keep, seed) if kept is None else kept
    check_apart(task, kept)
    settings = {**model.settings(), "task": task.settings, "repair": section.model_dump(), "seed": seed}
    if kept:
        settings["kept"] = [other.settings for other in kept]
    if is_repaired(folder):
        return _finished(folder, settings)
    targets = check_base(model, section)
    check_label_mass(model, task, allowed=section.allow_low_mass or isinstance(section, SFT))
    method: Method = code_of(KINDS, section.kind).build(section, model, task, seed, progress)
    if kept:
        method = Keeping.build(section, method, model, kept, seed, progress)
    folder.mkdir(parents=True, exist_ok=True)
    with trainable(model, section, seed, targets) as trainee:
        fit(trainee, method, section, seed=seed, folder=folder, settings=settings, progress=progress)
        about = {
            **settings,
            "prompt_ids": contexts_of(model, task, "validator", task.items[:_KEPT_PROMPTS]),
            "label_ids": LabelWords.of(model, task).sequences,
            "learned": marks_as_text(frozenset().union(*(marks(other) for other in (task, *kept)))),
        }
        if targets is not None:
            about["reach"] = targets.reach()
        trainee.save(folder, base=base, about=about)
    return _finished(folder, settings)


def _finished(folder: Path, settings: Mapping[str, Any]) -> Path:
    """A folder that holds this repair, without what only an unfinished one needs."""
    about = read_object(folder / DESCRIPTION, "about")["about"]
    if any(about.get(key) != value for key, value in json.loads(json.dumps(settings)).items()):
        raise AccordError("this folder holds another repair", where=folder, fix="name another, or remove this one")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return folder
