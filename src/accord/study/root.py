"""The study file as a whole: what every study has, and the sections of all capabilities. Nothing here imports torch."""

from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field, create_model

from accord.capabilities import parts
from accord.cluster.config import MachinesSection
from accord.lm.config import BackboneSection
from accord.section import FolderName, Section, Seed
from accord.study.search_config import SearchSection
from accord.tasks import CustomTask

S = TypeVar("S", bound=Section)


class Study(Section):
    """One study: a model, the questions put to it, and what is done about the answers."""

    name: FolderName = Field(
        description="Name of the study and of its run folder, runs/NAME; letters, digits, . _ -",
        examples=["my-study"],
    )
    seeds: list[Seed] = Field(
        default=[0],
        min_length=1,
        max_length=1000,
        description="Random seeds. Concepts, heads and texts are made with each of them; [[gap]] and [text] use only "
        "the first: for the split and the choice of items under `limit`; the scores themselves are "
        "deterministic.",
    )
    backbone: BackboneSection
    tasks: dict[str, CustomTask] = Field(default={}, description="Tasks of your own.")
    search: SearchSection | None = Field(default=None, description="How accord search looks for the best values.")
    machines: MachinesSection | None = Field(
        default=None, description="What the stages are made on: one after another, or by several workers at once."
    )

    if TYPE_CHECKING:  # the sections of capabilities, which `study_model` adds

        def __getattr__(self, name: str) -> Any: ...

    def the(self, section: type[S]) -> S | None:
        """The section of this class, or of one derived from it; None if there is none, the first if there are more."""
        return next(iter(self.all(section)), None)

    def all(self, section: type[S]) -> list[S]:
        """The sections of this class, or of one derived from it, in the order of the file."""
        values = [getattr(self, key) for key in type(self).model_fields]
        tables = [table for value in values for table in (value if isinstance(value, list) else [value])]
        return [table for table in tables if isinstance(table, section)]


def study_model() -> type[Study]:
    """The model of a study file, with the sections of every capability and every kind that there is now."""
    configs = tuple(parts("config"))
    return _model(configs, tuple(tuple(getattr(config, "KINDS", {}).items()) for config in configs))


@cache
def _model(configs: tuple[ModuleType, ...], kinds: tuple[tuple[Any, ...], ...]) -> type[Study]:
    """`kinds` are those that the sections will be of: with others, it is another model."""
    keys: dict[str, Any] = {}
    for config in configs:
        keys |= config.sections()
    return create_model("Study", __base__=Study, __doc__=Study.__doc__, __module__=__name__, **keys)
