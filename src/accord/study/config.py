"""Reading a study file: every problem in it becomes an error that points into it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from accord.arguments import checked
from accord.errors import AccordError, nearest
from accord.section import Section
from accord.study.ranges import find as find_ranges
from accord.study.toml_lines import line_of, value_at
from accord.textfile import tables

if TYPE_CHECKING:
    from accord.study.root import Study

S = TypeVar("S", bound=Section)
_SHOWN = 20  # problems of a study that are told; who sees so many mends those, or begins anew


@dataclass(frozen=True)
class StudyFile:
    """A study and the text it was read from, so that problems found later can point into it too."""

    path: Path
    text: str
    study: "Study"

    def where(self, path: Sequence[str | int]) -> str:
        """File, line, table and key of a value."""
        return f"{self.path}:{line_of(self.text, path)}, {spell(path)}"

    def beside(self, name: str) -> Path:
        """A path written in the file: relative to the file, not to the current folder."""
        return self.path.parent / name


@checked
def load(path: Path) -> StudyFile:
    """Read and validate a study file; data files and the model are not looked at yet.

    >>> from tempfile import mkdtemp
    >>> from accord import study
    >>> study.write_template(path := Path(mkdtemp()) / "study.toml")
    >>> load(path).study.backbone.model
    'smollm2-135m'

    Raises AccordError, listing every problem with its line.
    """
    text, content = read(path)
    for place, _ in find_ranges(content):
        where = f"{path}:{line_of(text, place)}, {spell(place)}"
        fix = f"accord search {path} --trials 20, or put a value in its place"
        raise AccordError("A range is there for accord search to draw from.", where=where, fix=fix)
    return validated(path, text, content)


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a study file and the tables in it; AccordError if there is none or it is not TOML."""
    text = _read(path)
    try:
        return text, tables(text)
    except (ValueError, RecursionError) as error:  # also brackets in thousands of brackets
        line = re.search(r"at line (\d+)", str(error))
        number = int(line[1]) if line else text.count("\n") + 1
        fix = _header_twice(text.splitlines(), number)
        raise AccordError("This is not valid TOML.", where=f"{path}:{number}", got=str(error), fix=fix) from None


def _header_twice(lines: Sequence[str], number: int) -> str | None:
    """What to write where a line is the header of a table that is there already, if it may be there several times."""
    from accord.study.root import study_model

    header = re.match(r"\s*\[+\s*([\w-]+)\s*\]+", lines[number - 1]) if number <= len(lines) else None
    field = None if header is None else study_model().model_fields.get(header[1])
    if header is None or field is None or get_origin(field.annotation) is not list:
        return None
    return f"write [[{header[1]}]] each time, as there may be several"


def validated(path: Path, text: str, content: Mapping[str, Any]) -> StudyFile:
    """The study of these tables, which are those of the text. Raises AccordError, listing every problem."""
    from accord.study.root import study_model

    model = study_model()
    try:
        return StudyFile(path, text, model.model_validate(content))
    except ValidationError as error:
        found = [(line_of(text, place := _untagged(detail, content)), place, detail) for detail in error.errors()]
        found.sort(key=lambda each: each[0])
        problems = [
            problem(detail, model, f"{path}:{line}, {_spell_value(place, content)}")
            for line, place, detail in found[:_SHOWN]
        ]
        raise together(problems, path, len(found)) from None


def from_options(section: type[S], values: Mapping[str, Any], names: Mapping[str, str] | None = None) -> S:
    """A section from command-line options. Raises AccordError naming the option.

    Args:
        names: key -> its option, where that is not called as the key is.
    """

    def spelled(place: Sequence[str | int]) -> str:
        first, *rest = map(str, place)
        return ".".join([(names or {}).get(first, f"--{first}"), *rest]).replace("_", "-")

    try:
        return section.model_validate(values)
    except ValidationError as error:
        problems = [problem(detail, section, spelled(detail["loc"] or ("",))) for detail in error.errors()]
        raise together(problems, None) from None


def together(problems: Sequence[AccordError], path: Path | None, count: int | None = None) -> AccordError:
    """One error that lists the problems, the first of them where there are many.

    Args:
        count: how many there are, where these are only the first.
    """
    count = count or len(problems)
    if count == 1:
        return problems[0]
    told = [str(problem) for problem in problems[:_SHOWN]]
    where = "" if path is None else f" in {path}"
    more = [f"and {count - len(told)} more"] if count > len(told) else []
    return AccordError("\n".join([f"{count} problems{where}:", *told, *more]))


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise AccordError("There is no such study file.", where=path, fix=f"accord init {path} writes one") from None
    except IsADirectoryError:
        raise AccordError("This is a folder, not a study file.", where=path, wanted="a .toml file") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise AccordError("The study file is not UTF-8 text.", where=f"{path}:{line}") from None


def problem(detail: ErrorDetails, root: type[BaseModel], where: str) -> AccordError:
    """One of pydantic's errors in our words."""
    model = _model_at(root, detail["loc"])
    key = next((part for part in reversed(detail["loc"]) if isinstance(part, str)), "")
    field = model.model_fields.get(key)
    about = (field.description or "").rstrip(".") if field is not None else ""
    if detail["type"] == "extra_forbidden":
        return AccordError("Unknown key.", where=where, got=key, wanted=nearest(key, model.model_fields))
    if detail["type"] == "missing":
        return AccordError("A key is missing.", where=where, wanted=f"{key}: {about or 'a table'}")
    if detail["type"] == "union_tag_not_found":
        return AccordError("A key is missing.", where=where, wanted="kind: which of the kinds this section is of")
    if detail["type"] == "union_tag_invalid":
        kinds = re.findall(r"'([^']*)'", detail["ctx"]["expected_tags"])
        return AccordError(
            "Unknown value.", where=where, got=repr(detail["ctx"]["tag"]), wanted=nearest(detail["ctx"]["tag"], kinds)
        )
    got = detail["input"]
    value = repr(got) if isinstance(got, str | int | float | bool) else f"a {type(got).__name__}"
    if detail["type"] == "literal_error":
        choices = detail["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return AccordError("Unknown value.", where=where, got=value, wanted=nearest(str(got), choices))
    if (shape := _other_brackets(root, detail)) is not None:
        return AccordError("This is a table of another sort.", where=where, got=shape[0], wanted=shape[1], fix=shape[2])
    if detail["type"] == "none_required":
        return AccordError("This table has no such key.", where=where, got=f"{key} = {value}", wanted=about)
    if detail["type"] == "string_pattern_mismatch":
        wanted = about
    else:
        rule = _rule(detail)
        wanted = f"{rule} ({about})" if about else rule
    if isinstance(got, dict) and detail["type"] == "value_error":  # of several keys, which the rule names
        return AccordError("These values do not go together.", where=where, got=wanted)
    return AccordError("This value does not fit.", where=where, got=value, wanted=wanted)


def _rule(detail: ErrorDetails) -> str:
    """What pydantic wants of a value."""
    bounds = {
        "greater_than": "more than {gt:,}",
        "greater_than_equal": "{ge:,} or more",
        "less_than": "less than {lt:,}",
        "less_than_equal": "at most {le:,}",
    }
    if words := bounds.get(detail["type"]):
        return words.format_map(detail["ctx"])
    if detail["type"] in ("list_type", "model_type", "dict_type"):
        return "a list" if detail["type"] == "list_type" else "a table"
    return detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")


def _other_brackets(root: type[BaseModel], detail: ErrorDetails) -> tuple[str, str, str] | None:
    """What is there, what is wanted and what to write, where [name] stands for [[name]] or the other way round."""
    loc, got = detail["loc"], detail["input"]
    keys = [(str(part), _model_at(root, loc[: i + 1]).model_fields.get(str(part))) for i, part in enumerate(loc)]
    tables = [(key, field.annotation) for key, field in keys if field is not None and any(models_in(field.annotation))]
    if not tables:
        return None
    name, holds = ".".join(key for key, _ in tables), get_origin(tables[-1][1])
    at_table = keys[-1][0] == tables[-1][0]
    if holds is list and at_table and isinstance(got, dict):
        return f"[{name}]", f"[[{name}]]", f"write [[{name}]], as there may be several"
    if holds is dict and ((at_table and isinstance(got, list)) or detail["type"] == "model_type"):
        there = f"[[{name}]]" if at_table else f"[{name}]"
        return there, f"[{name}.NAME]", f"write [{name}.NAME], each under a name of its own"
    if holds not in (list, dict) and at_table and isinstance(got, list):
        return f"[[{name}]]", f"[{name}]", f"write [{name}], as there is but one"
    return None


def _model_at(model: type[BaseModel], loc: Sequence[str | int]) -> type[BaseModel]:
    """The section that the last part of `loc` is a key of."""
    members: list[type[BaseModel]] = []
    for part in loc[:-1]:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is not None:
            members = list(models_in(field.annotation))
            model = members[0] if members else model
        elif isinstance(part, str):  # the kind of a section that may be of several
            model = next((member for member in members if _kind_of(member) == part), model)
    return model


def _kind_of(section: type[BaseModel]) -> Any:
    field = section.model_fields.get("kind")
    return None if field is None else field.default


def _untagged(detail: ErrorDetails, content: Any) -> list[str | int]:
    """Where in the file a problem is: pydantic's place without the kinds of sections, which are no keys of tables."""
    place: list[str | int] = []
    for part in detail["loc"]:
        if isinstance(content, dict) and part not in content and part == content.get("kind"):
            continue
        place.append(part)
        try:
            content = content[part]
        except (LookupError, TypeError):
            content = None
    return [*place, "kind"] if detail["type"] == "union_tag_invalid" else place


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections that a value of this type may be, one for each kind."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def _spell_value(path: Sequence[str | int], content: Any) -> str:
    """As `spell`, also for a number or word in a list."""
    try:
        value = value_at(content, path)
    except (LookupError, TypeError):
        return spell(path)
    if isinstance(path[-1], int) and not isinstance(value, dict):
        return f"{spell(path[:-1])}, number {path[-1] + 1}"
    return spell(path)


def spell(path: Sequence[str | int]) -> str:
    """A path as the file's reader would say it.

    >>> spell(("gap", 1, "limit"))
    '[[gap]] number 2, key limit'
    """
    *table, key = path or ("the top",)
    if isinstance(key, int):
        return f"[[{'.'.join(map(str, table))}]] number {key + 1}"
    if not table:
        return f"key {key}"
    last = max((i for i, part in enumerate(table) if isinstance(part, int)), default=None)
    if last is None:
        return f"[{'.'.join(map(str, table))}], key {key}"
    inner = ".".join(map(str, [*table[last + 1 :], key]))
    return f"[[{'.'.join(map(str, table[:last]))}]] number {int(table[last]) + 1}, key {inner}"
