"""Kinds by name: a register says what settings a kind has and where the code is that takes them.

A register is a dict, kind -> (class of its settings, "module:name"). The code is imported when a kind is first used; a
union of all kinds is built at each call, so that it has the kinds that were registered later.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from types import GenericAlias
from typing import Annotated, Any, TypeVar, Union, cast

from pydantic import BaseModel, Field, TypeAdapter, create_model

from accord.errors import AccordError, nearest

B = TypeVar("B", bound=BaseModel)
Kinds = dict[str, tuple[Any, str]]


def add(kinds: Kinds, config: type[BaseModel], place: str) -> None:
    """Put a kind into a register, under the value of its field `kind`.

    Raises AccordError if the settings have no such field, or the register another kind of that name.
    """
    field = config.model_fields.get("kind")
    kind = None if field is None else field.default
    if not isinstance(kind, str):
        raise AccordError("settings without a kind", got=config.__name__, wanted='kind: Literal["name"] = "name"')
    if kinds.get(kind, (config, place)) != (config, place):
        raise AccordError("there is a kind of this name already", got=kind, wanted="a name of its own")
    kinds[kind] = config, place


def check_kind(kinds: Kinds, table: Mapping[str, Any], what: str, where: object) -> str:
    """The kind that a table is of; raises AccordError if the register has none of its name."""
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise AccordError(f"no such kind of {what}", where=where, got=repr(kind), wanted=nearest(str(kind), kinds))
    return kind


def validate(kinds: Kinds, table: Mapping[str, Any]) -> Any:
    """The settings in a table, of the class that its `kind` names; raises what pydantic raises."""
    return TypeAdapter(union(config for config, _ in kinds.values())).validate_python(dict(table))


def union(classes: Iterable[type[BaseModel]]) -> Any:
    """The annotation of a table of any of these classes; its `kind` says which."""
    return Annotated[Union[tuple(classes)], Field(discriminator="kind")]  # noqa: UP007


def list_of(classes: Iterable[type[BaseModel]]) -> Any:
    """The annotation of a list of such tables."""
    return GenericAlias(list, union(classes))


def section(base: type[B], config: type[BaseModel], **keys: Any) -> type[B]:
    """The section of a study file for a kind: its settings and its words about itself, with what a study adds.

    Args:
        base: what a study adds to every kind.
        keys: what it adds to this kind, as `pydantic.create_model` takes it.
    """
    name, bases = config.__name__.removesuffix("Config") + "Section", (base, config)
    section_type: Any = create_model(name, __base__=bases, __doc__=config.__doc__, __module__=base.__module__, **keys)
    return cast(type[B], section_type)


def code_of(kinds: Kinds, kind: str) -> Any:
    """What a register has for a kind, imported now."""
    module, _, name = kinds[kind][1].partition(":")
    return getattr(import_module(module), name)
