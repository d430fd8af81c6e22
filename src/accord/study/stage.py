"""What every stage of a study is, and what the stages of one run share."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.disk import write_whole
from accord.errors import AccordError
from accord.lm.config import BackboneSection
from accord.study.store import RECORD, Recipe
from accord.tasks import Task

if TYPE_CHECKING:
    from accord.lm import Backbone as LoadedBackbone
    from accord.lm import LanguageModel

Progress = Callable[[int, int], None]  # takes how much is done, and of how much
Weights = Callable[[], "LanguageModel"]
Loader = Callable[[BackboneSection], Weights]
_FOUND = "found.json"


@dataclass(frozen=True)
class Stage:
    """A folder of results and how to make it."""

    name: str  # where in the run folder: "gap/hypernymy"
    recipe: Recipe
    build: Callable[[Path, Progress], dict[str, Any]]  # writes into a work folder, going on from what is there

    @property
    def kind(self) -> str:
        """Which step of a study it belongs to: gap, embeddings, concepts, names, heads, texts or perplexity."""
        return self.name.partition("/")[0]


@dataclass(frozen=True)
class Run:
    """What the stages of one run share. Stages meet through the files in `folder` only.

    The trials of a search share more: stages named in `elsewhere` are in a folder of their own, and models that one
    trial has loaded are there for the next.
    """

    folder: Path
    backbone: BackboneSection
    loader: Loader
    elsewhere: Mapping[str, Path] = field(default_factory=dict)

    @property
    def weights(self) -> Weights:
        """Loads the backbone when first called."""
        return self.loader(self.backbone)

    def at(self, name: str) -> Path:
        """Where a stage is."""
        return self.elsewhere.get(name, self.folder / name)

    def lm(self) -> "LoadedBackbone":
        """The backbone, loaded once."""
        from accord.lm import Backbone as LoadedBackbone

        lm = self.weights()
        if not isinstance(lm, LoadedBackbone):
            raise AccordError("Concepts and heads are made on a backbone.", got=lm.name)
        return lm

    def repaired(self, repair: "Stage") -> "LanguageModel":
        """The model that a stage of a repair made."""
        from accord.repair import load_repaired

        return load_repaired(self.at(repair.name), device=self.backbone.device, dtype=self.backbone.dtype)

    def settings(self, task: Task) -> dict[str, Any]:
        """What fixes a task's numbers, as the backbone's chat template has it."""
        return read_by_model(task, self.backbone).settings

    def identity(self) -> dict[str, Any]:
        """What of the backbone fixes the numbers made with it."""
        return identity(self.backbone)


def identity(backbone: BackboneSection) -> dict[str, Any]:
    """What of a model fixes the numbers made with it. Fetches it if it is not on this machine.

    Device and dtype are as asked, not as found: results brought from a machine with a GPU to one without stay up
    to date.
    """
    from accord.loading import fingerprint

    return {
        "model": Path(backbone.model).name if Path(backbone.model).exists() else backbone.model,
        "weights": fingerprint(backbone.model),
        "device": backbone.device.partition(":")[0],
        "dtype": backbone.dtype,
    }


def read_by_model(task: Task, backbone: BackboneSection) -> Task:
    """The task with what the model's chat template makes of it in its settings (see `accord.gap.questions.read_by`).

    Reads the model's tokenizer where the task is asked in a chat, else nothing.
    """
    if task.chat is None:
        return task
    from accord.gap.questions import read_by
    from accord.loading import load_tokenizer

    return read_by(load_tokenizer(backbone.model), task)


def lazy(backbone: BackboneSection) -> Weights:
    """A function that loads the weights when first called: stages share them, and a rerun loads none."""

    @cache
    def weights() -> "LanguageModel":
        from accord.loading import load

        return load(backbone.model, device=backbone.device, dtype=backbone.dtype)

    return weights


def load_once() -> Loader:
    """`lazy` for several models: who asks again for the same one, gets the same weights."""
    known: dict[tuple[str, str, str], Weights] = {}
    return lambda model: known.setdefault((model.model, model.device, model.dtype), lazy(model))


def found_by(lm: "LanguageModel") -> dict[str, str]:
    """What "auto" turned out to be."""
    return {"device": lm.device.type, "dtype": str(lm.dtype).removeprefix("torch.")}


def keep_if_same(work: Path, found: Mapping[str, str]) -> None:
    """Empty a work folder that was begun on another device or in another precision: parts are never mixed."""
    note = work / _FOUND
    if note.exists() and json.loads(note.read_text(encoding="utf-8")) == found:
        return
    for left in work.iterdir():
        if left.name == RECORD:
            continue
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()
    write_json(note, found)


def finish(work: Path, *folders: str) -> None:
    """Remove what only an interrupted stage needs."""
    for name in folders:
        shutil.rmtree(work / name, ignore_errors=True)
    (work / _FOUND).unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a small table; numbers that are not finite become null, which every reader of JSON takes."""
    table = {key: None if isinstance(value, float) and not _finite(value) else value for key, value in content.items()}
    write_whole(path, json.dumps(table, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _finite(value: float) -> bool:
    return abs(value) < float("inf")  # false for NaN too
