"""What a stage is made with: its folder, the folders it reads, models that are loaded once, and a bar to move."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from accord.disk import read_object, write_json
from accord.errors import AccordError
from accord.lm.config import BackboneSection
from accord.progress import Progress
from accord.spread import HELPERS, NothingFree, close, helps_with, open_to_helpers
from accord.study.session import card_of
from accord.unfinished import RECORD

if TYPE_CHECKING:
    import torch

    from accord.lm import Backbone, LanguageModel
    from accord.ranks import Ranks

L = TypeVar("L", bound="LanguageModel")

PARTS, CHECKPOINTS = "parts", "checkpoints"  # what only an interrupted stage needs; trainers keep the latter
KEPT = 2
"""Models that a worker keeps: the backbone and one more, such as a judge, as some stages hold at once, too."""

_FOUND = "found.json"  # beside it: the device and precision that this was begun with, and on which card or processor


class Input(Protocol):
    """A stage that another is made from, by its folder in the run folder."""

    @property
    def name(self) -> str:
        """The folder."""
        ...


class Models:
    """Language models, each loaded when first asked for and kept: stages share them, and a rerun loads none."""

    def __init__(self, doing: Callable[[str], None] | None = None, *, most: int | None = None) -> None:
        """A place for models.

        Args:
            doing: told what takes a while: "loading smollm2-135m".
            most: how many are kept; the one that was used longest ago is dropped before another is loaded. By default
                all are kept.
        """
        self._kept: dict[tuple[str, str, str], LanguageModel] = {}  # the one used last at the end
        self._doing, self._most = doing, most

    def load(self, section: BackboneSection) -> "LanguageModel":
        """The model of a section."""
        key = (section.model, section.device, section.dtype)
        lm = self._kept.pop(key, None)
        if lm is None:
            if self._doing is not None:
                self._doing(f"loading {Path(section.model).name}")
            while self._most is not None and len(self._kept) >= self._most:
                del self._kept[next(iter(self._kept))]
            lm = load(section)
        self._kept[key] = lm
        return lm

    def kept(self, section: BackboneSection) -> "LanguageModel | None":
        """The same, if it is in memory already."""
        return self._kept.get((section.model, section.device, section.dtype))


def load(section: BackboneSection) -> "LanguageModel":
    """The model of a section, loaded anew."""
    from accord.loading import load as load_model

    return load_model(section.model, device=section.device, dtype=section.dtype)


def to_make(section: BackboneSection) -> BackboneSection:
    """The section for what is made, not measured: in bfloat16 where "auto" leaves it open and the CPU is made for it.

    What is trained on, or learnt, does not ask for more. Measures do: on smollm2-135m bfloat16 moves the validator's
    log-odds by .07 in the mean, where their standard deviation is .5 (docs/log.md).
    """
    from accord.lm.devices import pick_device
    from accord.on_cpu import multiplies_bfloat16

    chosen = section.dtype == "auto" and pick_device(section.device).type == "cpu" and multiplies_bfloat16()
    return section.model_copy(update={"dtype": "bfloat16"}) if chosen else section


class TrainingOver(Exception):
    """What is left of a stage is rank 0's work: see `Work.trained`."""


@dataclass
class Work:
    """What a stage is made with.

    Attributes:
        folder: to be filled; holds what an interrupted making left there.
        at: says where the folder of a stage is.
        models: those of the run.
        progress: called with (work done, work in all).
        facts: what is known only once the stage is made, for its manifest. The device and the precision that "auto"
            stood for are among them.
        helping: another worker makes the stage, and this one computes parts that nobody is at; it writes nothing else,
            see `accord.spread`.
        ranks: that train the stage together; None: this process alone. Rank 0 alone has the folder.
    """

    folder: Path
    at: Callable[[Input], Path]
    models: Models
    progress: Progress = lambda done, total: None
    facts: dict[str, Any] = field(default_factory=dict)
    helping: bool = False
    ranks: "Ranks | None" = None

    @property
    def parts(self) -> Path:
        """A folder for what only an interrupted stage needs; it is removed when the stage is whole."""
        return self.folder / PARTS

    def load(self, section: BackboneSection) -> "LanguageModel":
        """A model of the run."""
        return self.begun_with(self.models.load(section))

    def load_to_make(self, section: BackboneSection) -> "LanguageModel":
        """A model of the run to make something with, such as a repair: see `to_make`."""
        from accord.lm.tail import Unsupported

        faster = to_make(section)
        if faster != section:
            try:
                return self.begun_with(self.models.load(faster))
            except AccordError as error:  # in this precision, the model may not hold what accord relies on
                if not isinstance(error.__cause__, Unsupported):
                    raise
        return self.load(section)

    def backbone(self, section: BackboneSection, *, to_make: bool = False) -> "Backbone":
        """A model of the run that must be a backbone. Raises AccordError if it is anything else."""
        from accord.lm import Backbone

        lm = self.load_to_make(section) if to_make else self.load(section)
        if not isinstance(lm, Backbone):
            raise AccordError("Concepts and heads are made on a backbone.", got=lm.name)
        return lm

    def device(self, section: BackboneSection) -> "torch.device":
        """Where a model of the run is, for a training that needs no more of it: other ranks do not load it."""
        if self.writes:
            device: torch.device = self.backbone(section).device
            return device
        from accord.lm.devices import pick_device

        return pick_device(section.device)

    @property
    def writes(self) -> bool:
        """Whether this process has the folder."""
        return self.ranks is None or self.ranks.rank == 0

    def trained(self) -> None:
        """Say that the training is over, and that all that is left is rank 0's: raises TrainingOver on the others."""
        if not self.writes:
            raise TrainingOver

    def begun_with(self, lm: L) -> L:
        """The same model. The first model of a stage decides on which device and in which precision the stage is made.

        What an interrupted call left that was made on another device or in another precision is removed. A helper
        leaves where the owner began otherwise, or on a card or processor of another kind: that raises NothingFree. So
        parts of two kinds of machines meet only where a stage was interrupted on one and gone on with on the other.
        """
        if "device" in self.facts or not self.writes:
            return lm
        self.facts |= {"device": lm.device.type, "dtype": str(lm.dtype).removeprefix("torch."), **_placement(lm)}
        note = self.folder / _FOUND
        begun = {key: self.facts[key] for key in ("device", "dtype")}
        here = {**begun, "card": card_of(lm.device)}
        found = _read(note) if note.exists() else {}
        if self.helping:
            if found != here:
                raise NothingFree
            helps_with(here["card"])
            return lm
        if {key: found.get(key) for key in begun} != begun:
            close(self.folder)
            for left in self.folder.iterdir():
                if left.name != RECORD:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
        if found != here:
            close(self.folder)  # to helpers like those who were here before
            write_json(note, here)
        open_to_helpers()
        return lm

    def all_parts_made(self) -> None:
        """Where a stage that is shared has nothing left but to put its parts together: a helper leaves here."""
        if self.helping:
            raise NothingFree

    def finish(self) -> None:
        """Remove what only an interrupted stage needs."""
        for name in (PARTS, CHECKPOINTS, HELPERS):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / _FOUND).unlink(missing_ok=True)


def _placement(lm: "LanguageModel") -> dict[str, str]:
    """Where the parts of a model lie, if on more than one device. No number depends on it."""
    from accord.lm.edited import backbone_of

    with suppress(AccordError):  # it stands on no backbone
        placement = backbone_of(lm).placement
        return {"placement": str(placement)} if placement.divided else {}
    return {}


def _read(note: Path) -> dict[str, Any]:
    """What a note says; nothing, if it is damaged."""
    try:
        return read_object(note)
    except AccordError:
        return {}
