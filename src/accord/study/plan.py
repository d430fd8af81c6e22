"""Planning a study: every capability turns its sections into stages, and says what is wrong or must be fetched.

Planning is checking: it builds the tasks, looks at the data and the names, and loads no weights.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial, wraps
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from accord.disk import DISK_FULL, path_of
from accord.errors import AccordError, nearest
from accord.lm.config import BackboneSection
from accord.lm.devices import kind_of
from accord.section import Layer, Section
from accord.study.config import StudyFile
from accord.study.work import Work
from accord.tasks import TASKS, CustomTask, Task, left_out
from accord.tasks import task as make_task
from accord.tasks.config import QuestionSection

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from accord.lm import LanguageModel

S = TypeVar("S", bound=Section)
T = TypeVar("T")
Place = tuple[str | int, ...]


class Unplanned(Exception):
    """A stage that other stages need cannot be planned; the reason is among the problems already."""


@dataclass(frozen=True)
class Named:
    """A model that is named: a backbone, a judge, a folder."""

    section: BackboneSection
    identity: dict[str, Any]

    def load(self, work: Work) -> "LanguageModel":
        """The model; loaded once a run."""
        return work.load(self.section)


class Plan:
    """A study on its way to its stages.

    Attributes:
        file: the study, and the text that it was read from.
        kept: what an earlier planning of the same file made (see the method `kept`); this one adds to it.
        missing: what must be fetched before the first stage: name -> what it is. Always empty with `fetch`.
        downloads: of these, the bytes that fetching one takes, as far as that is known, and the folder where.
    """

    def __init__(self, file: StudyFile, *, fetch: bool = False, kept: dict[str, Any] | None = None) -> None:
        self._kept = {} if kept is None else kept
        self.file, self.study, self.fetch = file, file.study, fetch
        self.missing: dict[str, str] = {}
        self.downloads: dict[str, Callable[[], tuple[int, Path]]] = {}
        self.problems: dict[str, AccordError] = {}
        self.notes: dict[str, None] = {}  # what the user should know of the data files, each line once
        self.unsound: set[str] = set()  # tasks of the study that cannot be made
        self.made_once: dict[Any, Any] = {}  # see `planned_once`
        self._named: dict[tuple[str, str, str], Named | AccordError] = {}

    @property
    def seed(self) -> int:
        """The study's first: of splits, of items, and of whatever is made once."""
        return self.study.seeds[0]

    def the(self, section: type[S]) -> S | None:
        """The section of this class, if the study has one."""
        return self.study.the(section)

    def all(self, section: type[S]) -> list[S]:
        """All sections of this class, in their order."""
        return self.study.all(section)

    def at(self, *place: str | int, section: BaseModel | None = None) -> "_At":
        """A `with` whose AccordError becomes a problem of the study at this place.

        Args:
            section: where a key of it has the value that the error quotes, the problem is at that key.
        """
        return _At(self, place, section)

    def problem(self, error: AccordError, *place: str | int) -> None:
        """Note what is wrong at a place; the same problem there once, whoever finds it."""
        message = f"{self.file.where(place)}\n  " + str(error).replace("\n", "\n  ")
        self.problems.setdefault(message, AccordError(message))

    def kept(self, key: Any, make: Callable[[], T]) -> T:
        """What `make` gives; it is called once for each key, over all plannings of the same file.

        Args:
            key: what of the study `make` depends on, as JSON.
        """
        name = json.dumps(key, sort_keys=True, default=str)
        if name not in self._kept:
            self._kept[name] = make()
        value: T = self._kept[name]
        return value

    def miss(self, name: str, what: str, size: Callable[[], tuple[int, Path]] | None = None) -> None:
        """Note what must be fetched before the first stage; `size` as in `downloads`."""
        self.missing[name] = what
        if size is not None:
            self.downloads[name] = size

    # Models

    @cached_property
    def backbone(self) -> BackboneSection:
        """The model under study, its path taken relative to the study file."""
        return self.model(self.study.backbone.model)

    def model(self, name: str) -> BackboneSection:
        """A model as a section of its own: on the backbone's device, in its precision."""
        beside = path_of(self.file.beside(name)).absolute()  # saved models name it, and are loaded from anywhere
        return self.study.backbone.model_copy(update={"model": str(beside) if beside.exists() else name})

    def named(self, section: BackboneSection) -> Named:
        """The model with what of it fixes results. It is fetched, or noted as missing.

        Raises AccordError unless it is in the catalog, is written like a hub id, or is a folder or file that will do.
        """
        key = (section.model, section.device, section.dtype)
        if key not in self._named:
            try:
                self._named[key] = Named(section, self._identity(section))
            except AccordError as error:
                self._named[key] = error
                raise
        named = self._named[key]
        if isinstance(named, AccordError):  # wherever a model is named; the backbone is so but once
            raise Unplanned if section == self.backbone else named
        return named

    def _identity(self, section: BackboneSection) -> dict[str, Any]:
        from accord.lm.catalog import bytes_to_fetch
        from accord.loading import check_model, check_opens, is_here

        check_model(section.model)
        here = self.fetch or is_here(section.model)
        if not here:
            self.miss(section.model, "a model", partial(bytes_to_fetch, section.model))
        if here:
            check_opens(section.model)
        return identity(section, fetch=self.fetch, here=here)

    def weights(self, *sections: BackboneSection) -> int:
        """Bytes of memory that models take together; those of which nothing is known yet count as nothing."""
        from accord.loading import weights_bytes

        different = {(section.model, section.device, section.dtype) for section in sections}
        total = 0
        for model, device, dtype in different:
            with suppress(AccordError):  # a problem of its own, which is told where the model is named
                total += weights_bytes(model, device=device, dtype=dtype)
        return total

    # Texts

    def texts(self, source: str) -> str:
        """A source of texts as `accord.text.corpus` takes it; it is fetched, or noted as missing.

        Raises AccordError if there is no such source.
        """
        from accord.text.sources import bytes_to_fetch, fetch_source, is_here, is_local

        beside = str(self.file.beside(source))
        if is_local(beside):
            return beside
        if self.fetch:
            fetch_source(source)
        elif not is_here(source):
            self.miss(source, "texts", partial(bytes_to_fetch, source))
        return source

    # Layers

    @cached_property
    def depth(self) -> int | None:
        """How many layers the backbone has; None where that takes fetching it."""
        return self._shape[0]

    @cached_property
    def width(self) -> int | None:
        """How wide its states are; None where its config does not say, or must be fetched."""
        return self._shape[1]

    @cached_property
    def vocabulary(self) -> int | None:
        """For how many tokens it has a logit; None as for `width`."""
        from accord.loading import vocabulary_size

        self.named(self.backbone)
        here = self.backbone.model not in self.missing
        return vocabulary_size(self.backbone.model, fetch=self.fetch) if here else None

    @cached_property
    def _shape(self) -> tuple[int | None, int | None]:
        from accord.loading import shape

        self.named(self.backbone)
        return shape(self.backbone.model, fetch=self.fetch) if self.backbone.model not in self.missing else (None, None)

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase | None":
        """The backbone's; None where it must be fetched first."""
        from accord.loading import load_tokenizer

        self.named(self.backbone)
        here = self.backbone.model not in self.missing
        return load_tokenizer(self.backbone.model, fetch=self.fetch) if here else None

    def number(self, layer: Layer) -> int | None:
        """A layer's number; None for the last of a backbone that must be fetched first.

        Raises AccordError if there is no such layer.
        """
        if layer == "last":
            return self.depth
        if self.depth is not None and layer > self.depth:
            raise AccordError("No such layer.", got=layer, wanted=f"0 to {self.depth} in {self.study.backbone.model}")
        return layer

    # Tasks

    def task(self, question: QuestionSection, **keys: Any) -> Task:
        """The task that a section asks for, its names and paths as the file means them.

        Args:
            keys: of `accord.task`, in place of the section's own.

        Raises AccordError as `accord.task` does.
        """
        keys = {**question.asked, "seed": self.seed, **keys}
        name: str | CustomTask = question.task
        if name in self.study.tasks:
            custom = self.study.tasks[str(name)]
            own: dict[str, Any] = {"data": self.file.beside(str(custom.data))}
            name = custom.model_copy(update=own if "name" in custom.model_fields_set else {**own, "name": name})
        elif str(name).endswith(".toml"):
            name = str(self.file.beside(str(name)))
        else:
            known = [*TASKS, *self.study.tasks]
            if name not in known:
                raise AccordError("Unknown task.", got=repr(name), wanted=nearest(str(name), known))
        data = None if question.data is None else self.file.beside(question.data)
        task = self.kept([question.task, question.data, keys], lambda: make_task(name, data=data, **keys))
        if line := left_out(task):
            self.notes[line] = None
        return task

    def read(self, task: Task) -> Task:
        """The task as the backbone's chat template has it (see `accord.tasks.as_read.read_by`)."""
        here = self.named(self.backbone).identity["weights"] is not None
        return read_by_model(task, self.backbone, fetch=self.fetch) if here else task


class _At:
    """See `Plan.at`."""

    def __init__(self, plan: Plan, place: Place, section: BaseModel | None) -> None:
        self.plan, self.place, self.section = plan, place, section

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if isinstance(error, OSError) and error.filename is not None and error.errno not in DISK_FULL:
            error = AccordError(error.strerror or str(error), where=error.filename)  # of a file that the study names
        if isinstance(error, AccordError):
            key = () if self.section is None else _quoted_key(str(error), self.plan.file, self.section)
            self.plan.problem(error, *self.place, *key)
        return isinstance(error, AccordError | Unplanned)


def planned_once(make: Callable[[Plan], T]) -> Callable[[Plan], T]:
    """A function of a plan that is computed once for it. Where it failed, later calls raise Unplanned."""

    @wraps(make)
    def once(plan: Plan) -> T:
        if make not in plan.made_once:
            plan.made_once[make] = None  # where it raises
            plan.made_once[make] = (make(plan),)
        if plan.made_once[make] is None:
            raise Unplanned
        value: T = plan.made_once[make][0]
        return value

    return once


def identity(section: BackboneSection, *, fetch: bool = True, here: bool = True) -> dict[str, Any]:
    """What of a model fixes the numbers made with it.

    Device and dtype are as written in the section ("auto" stays "auto"), so that results brought from a machine with a
    GPU to one without stay up to date.

    Args:
        fetch: fetch it, or its newest version, if it is not on this machine; else what is here counts.
        here: False for a model that must be fetched first: its weights are None.
    """
    from accord.loading import fingerprint

    return {
        "model": Path(section.model).name if Path(section.model).exists() else section.model,
        "weights": fingerprint(section.model, fetch=fetch) if here else None,
        "device": kind_of(section.device),
        "dtype": section.dtype,
    }


def read_by_model(task: Task, backbone: BackboneSection, *, fetch: bool = True) -> Task:
    """The task with what the model's chat template makes of it in its settings (see `accord.tasks.as_read.read_by`).

    Reads the model's tokenizer where the task is asked in a chat, else nothing.
    """
    if task.chat is None:
        return task
    from accord.loading import load_tokenizer
    from accord.tasks.as_read import read_by

    return read_by(load_tokenizer(backbone.model, fetch=fetch), task)


def _quoted_key(message: str, file: StudyFile, section: BaseModel) -> tuple[str, ...]:
    """The key whose value the message gives as `got`, or that names a file of the message; none if there is none."""
    got = next((line for line in message.splitlines() if line.startswith("  got:")), "")
    values = {key: str(value) for key, value in section if isinstance(value, str | Path) and str(value)}
    by_value = [key for key, value in values.items() if repr(value) in got or got.endswith(f"  {value}")]
    paths = {key for key, of in type(section).model_fields.items() if of.json_schema_extra}  # see `section.PATH`
    by_file = [key for key, value in values.items() if key in paths and str(file.beside(value)) in message]
    return tuple([*by_value, *by_file][:1])
