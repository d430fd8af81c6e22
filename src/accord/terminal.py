"""What commands are made of: options that a section's fields write, a stage made and read, tables, bars and remarks.

A command is a plain function. A parameter marked with `options` takes a section of the study file: `as_command` puts an
option for each of its keys in the parameter's place, with the text, the type, the bounds and the default of the field.

    def gap(section: Annotated[GapSection, options(without=("name", "model"))], out: Path | None = None) -> None: …
"""

import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import Parameter, Signature, signature
from pathlib import Path
from tempfile import TemporaryDirectory
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints

import annotated_types
import typer
from pydantic.fields import FieldInfo
from rich import box
from rich.padding import Padding
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from accord.errors import AccordError
from accord.progress import Display
from accord.screen import Screen, tell
from accord.section import Section
from accord.study.config import from_options

if TYPE_CHECKING:
    from accord.report.finding import Finding
    from accord.study.stage import Stage
    from accord.tasks import Task

_LITTLE = 0.5  # of the probability
_BESIDE = 100  # columns of a terminal from which on texts stand beside facts

Seed = Annotated[int, typer.Option(help="Of the split and the choice of items.")]
Study = Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")]
StudyOut = Annotated[Path | None, typer.Option(help="The run folder of the study; runs/NAME by default.")]
All = Annotated[bool, typer.Option("--all", help="Every number, below the finding.")]
Replace = Annotated[
    bool, typer.Option("--replace", help="Make again what is there already with other settings; else it is kept.")
]


# Options from sections


@dataclass(frozen=True)
class Options:
    """Which keys of a section become options, and how; see `options`."""

    without: frozenset[str] = frozenset()
    only: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    joined: Mapping[str, tuple[tuple[str, ...], str]] = field(default_factory=dict)
    flags: Mapping[str, tuple[str, Any, str]] = field(default_factory=dict)
    help: Mapping[str, str] = field(default_factory=dict)
    argument: str | None = None

    def but(self, *, without: Iterable[str] = (), **changes: Any) -> "Options":
        """The same with more keys left out, or other changes."""
        return replace(self, without=self.without | frozenset(without), **changes)


def options(
    *,
    without: Iterable[str] = (),
    only: Sequence[str] = (),
    renamed: Mapping[str, str] | None = None,
    joined: Mapping[str, tuple[tuple[str, ...], str]] | None = None,
    flags: Mapping[str, tuple[str, Any, str]] | None = None,
    help: Mapping[str, str] | None = None,
    argument: str | None = None,
) -> Options:
    """Marks a parameter that takes a section, made of options: `Annotated[GapSection, options(…)]`.

    The section's `model_fields_set` are the keys whose options stand on the command line, and no others. If the
    parameter may be None, the options of required keys may be left out; the parameter is None if any of them is.

    Args:
        without: keys that get no option.
        only: the keys that get an option, where most do not.
        renamed: key -> name of its option, where it differs from the key: `{"tasks": "other"}`.
        joined: name of an option -> the keys that it sets to the same value, and its help.
        flags: name of an option -> the key that it sets, the value, and its help.
        help: key -> help, where the field's own words do not fit a command.
        argument: the key that becomes an argument, not an option.
    """
    return Options(frozenset(without), tuple(only), renamed or {}, joined or {}, flags or {}, help or {}, argument)


@dataclass(frozen=True)
class OptionOf:
    """Marks a parameter that becomes the option of a section's field; the parameter's own default, if any, counts."""

    section: type[Section]
    key: str
    help: str | None = None


QUESTION = options(
    without=("name", "model"),
    renamed={
        "generator_phrasing": "generator",
        "validator_phrasing": "validator",
        "chat_options": "chat-option",
    },
    joined={
        "shots": (
            ("generator_shots", "validator_shots"),
            "Worked examples in both forms; by default only in the validator's.",
        )
    },
    flags={
        "one-message": (
            "chat_turns",
            False,
            "In a chat: worked examples in the question's own message, not in turns.",
        )
    },
    help={"task": "A task of `accord tasks`, or a task file (.toml)."},
)
"""Options of a question: which task, and how it is put."""

DEVICE = options(only=("model", "device", "dtype"))
"""Options of a model: which, where it runs, and in which precision."""


@dataclass(frozen=True, eq=False)
class _Option:
    """An option of a section: the parameter that typer sees, the keys it sets, and what its value means."""

    parameter: Parameter
    keys: tuple[str, ...]
    read: Callable[[Any], Any]


def as_command(function: Callable[..., None]) -> Callable[..., None]:
    """A function as typer takes it: each parameter marked with `options` is replaced by these."""
    hints = get_type_hints(function, include_extras=True)
    parameters: list[Parameter] = []
    sections: dict[str, tuple[type[Section], bool, list[_Option]]] = {}
    for parameter in signature(function).parameters.values():
        annotation = hints[parameter.name]
        mark = next((m for m in getattr(annotation, "__metadata__", ()) if isinstance(m, Options | OptionOf)), None)
        if isinstance(mark, Options):
            section, optional = _plain(annotation)
            choices = _options_of(section, mark, optional)
            sections[parameter.name] = section, optional, choices
            parameters += [option.parameter for option in choices]
        elif isinstance(mark, OptionOf):
            parameters.append(_one_option(parameter, mark))
        else:
            parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=annotation))

    def command(**arguments: Any) -> None:
        context = arguments.pop(_CONTEXT.name)
        for name, (section, optional, choices) in sections.items():
            values = {option: arguments.pop(option.parameter.name) for option in choices}
            given = {option: value for option, value in values.items() if _is_given(context, option)}
            arguments[name] = _section(section, optional, choices, given)
        function(**arguments)

    parameters.append(_CONTEXT)
    command.__name__, command.__doc__, command.__module__ = function.__name__, function.__doc__, function.__module__
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


_CONTEXT = Parameter("context_", Parameter.KEYWORD_ONLY, annotation=typer.Context)
"""Of typer: which options stand on the command line."""


def _is_given(context: typer.Context, option: _Option) -> bool:
    source = context.get_parameter_source(option.parameter.name)
    return source is not None and source.name == "COMMANDLINE"


def _section(section: type[Section], optional: bool, choices: Sequence[_Option], given: Mapping[_Option, Any]) -> Any:
    """The section that the options given make; None if it is optional and a required key is missing.

    Raises AccordError naming the option.
    """
    fields, table = section.model_fields, dict[str, Any]()
    for option, value in given.items():
        table |= dict.fromkeys(option.keys, option.read(value))
    if optional and any(of.is_required() and key not in table for key, of in fields.items()):
        return None
    names = {key: _spelled(option) for option in choices for key in option.keys}
    return from_options(section, table, names)


def _spelled(option: _Option) -> str:
    return "--" + option.parameter.name.replace("_", "-")


def _options_of(section: type[Section], mark: Options, optional: bool) -> list[_Option]:
    """The options of a section in the order of its keys; an option of several keys stands in the place of the first."""
    joined = {keys[0]: (name, keys, help) for name, (keys, help) in mark.joined.items()}
    flags = {key: (name, value, help) for name, (key, value, help) in mark.flags.items()}
    inner = {key for keys, _ in mark.joined.values() for key in keys[1:]}
    choices = []
    for key, of in section.model_fields.items():
        if key in mark.without or key in inner or (mark.only and key not in mark.only):
            continue
        if key in joined:
            name, keys, help = joined[key]
            choices.append(_option(name, keys, of, help, default=None))
        elif key in flags:
            name, value, help = flags[key]
            parameter = _parameter(name, bool, False, typer.Option(f"--{name}", help=help))
            choices.append(_Option(parameter, (key,), partial(_always, value)))
        else:
            name, help = mark.renamed.get(key, key.replace("_", "-")), mark.help.get(key, of.description or "")
            if key == mark.argument:
                parameter = _parameter(name, str, ..., typer.Argument(help=help))
                choices.append(_Option(parameter, (key,), _as_it_is))
            else:
                choices.append(_option(name, (key,), of, help, default=None if optional and of.is_required() else ...))
    return choices


def _option(name: str, keys: tuple[str, ...], of: FieldInfo, help: str, default: Any) -> _Option:
    """An option for a field; `default` may be `...` for the field's own."""
    kind, empty = _plain(of.annotation)
    if default is ... and not of.is_required():
        default = of.default
    empty = empty or default is None
    if get_origin(kind) is dict:
        option = typer.Option(f"--{name}", metavar="KEY=VALUE", help=f"{help} May be given again.")
        return _Option(_parameter(name, list[str] | None, None, option), keys, partial(key_values, f"--{name}"))
    if get_origin(kind) is list:
        option = typer.Option(f"--{name}", help=f"{help} May be given again.")
        return _Option(_parameter(name, list[str] | None, None, option), keys, _as_it_is)
    spelled = f"--{name}/--no-{name}" if kind is bool and default is True else f"--{name}"
    option = typer.Option(spelled, help=help, **_bounds(of, kind))
    return _Option(_parameter(name, kind | None if empty else kind, default, option), keys, _as_it_is)


def _as_it_is(value: Any) -> Any:
    return value


def _always(value: Any, _: Any) -> Any:
    return value


def _one_option(parameter: Parameter, mark: OptionOf) -> Parameter:
    of = mark.section.model_fields[mark.key]
    default = of.default if parameter.default is Parameter.empty else parameter.default
    name = parameter.name.strip("_").replace("_", "-")
    return _option(name, (mark.key,), of, mark.help or of.description or "", default).parameter


def _parameter(name: str, kind: Any, default: Any, option: Any) -> Parameter:
    default = Parameter.empty if default is ... else default
    annotation = Annotated[kind, option]
    return Parameter(name.replace("-", "_"), Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _plain(annotation: Any) -> tuple[Any, bool]:
    """A type without what annotates it and without None, and whether it may be None."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        assert len(kinds) == 1, f"an option is of one type: {annotation}"
        return _plain(kinds[0])[0], len(kinds) < len(get_args(annotation))
    return annotation, False


def _bounds(of: FieldInfo, kind: Any) -> dict[str, Any]:
    """The bounds of a field as typer has them; open ones of numbers with a fraction are left to the section."""
    bounds: dict[str, Any] = {}
    for rule in of.metadata if kind in (int, float) else ():
        if isinstance(rule, annotated_types.Ge):
            bounds["min"] = rule.ge
        elif isinstance(rule, annotated_types.Le):
            bounds["max"] = rule.le
        elif isinstance(rule, annotated_types.Gt) and kind is int:
            bounds["min"] = rule.gt + 1  # type: ignore[operator]
    return bounds


def key_values(option: str, pairs: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE options as a table; a value that is not JSON is a word.

    >>> key_values("--chat-option", ["thinking=false", "reply-style=short"])
    {'thinking': False, 'reply_style': 'short'}
    """
    table: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise AccordError(f"{option} takes a key and its value", got=pair, wanted="KEY=VALUE, such as delta=3")
        try:
            table[key.replace("-", "_")] = json.loads(value)
        except ValueError:
            table[key.replace("-", "_")] = value
    return table


# Stages


def made(stage: "Stage", out: Path | None = None, *, replace: bool = False) -> Any:
    """The result of a stage, computed unless `out` holds it already; without `out`, in a folder that is thrown away.

    Raises AccordError if `out` holds anything else; results of other settings are replaced with `replace`.
    """
    if replace and out is None:
        raise AccordError("--replace is about what is in a folder.", fix="name the folder with --out")
    with TemporaryDirectory() as passing:
        folder = out or Path(passing) / stage.kind
        return _made(stage, folder, announce=out is not None, replace=replace, keep="name another folder with --out")


def made_in_run(
    name: str, run: Path, make: Callable[[], "Stage"], *, asked: Collection[str] = (), replace: bool = False
) -> Any:
    """The result of a stage of a run folder: what is there, unless the command line asks for something else.

    Where nothing is there, it is computed.

    Args:
        name: of the stage, as `make` gives it.
        asked: the settings of the stage that the command line names ("annotator", or "task.explained" for one within
            another). What is there and has these is what is meant, however its other settings came about.

    Raises AccordError if what is there differs in one of them, or was made from what the run does not hold any more,
    without `replace`.
    """
    from accord.study.manifest import missing, read_manifest
    from accord.study.stage import settings_that_differ
    from accord.study.store import made_here, state

    folder = run / name
    is_there = not replace and made_here(run, name)
    if is_there and not asked and missing(folder) is None:
        return _read(name, folder, "there already")
    stage = make()
    if is_there and state(folder, stage.recipe) == "other":
        manifest = read_manifest(folder) or {}
        changed = [key for key, _, _ in settings_that_differ(manifest["settings"], stage.recipe.settings)]
        if not any(f"{key}.".startswith(f"{named}.") for key in changed for named in asked):
            return _read(name, folder, "there already")
    at = lambda other: run.absolute() / other.name  # noqa: E731
    return _made(stage, folder, announce=True, replace=replace, keep=None, at=at)


def _made(stage: "Stage", folder: Path, *, announce: bool, replace: bool, keep: str | None, at: Any = None) -> Any:
    from accord.study.run_folder import result_types
    from accord.study.store import publish
    from accord.study.work import Models

    with Display(stage.name) as display, display.step(stage.name) as progress:
        models = Models(display.doing)
        new = publish(stage, folder, models=models, at=at, progress=progress, replace=replace, keep=keep,
                      say=display.say)  # fmt: skip
        result = result_types()[stage.kind].read(folder)
    if announce:
        tell(f"{folder}: {'written' if new else 'up to date'}", err=True)
    return result


def _read(name: str, folder: Path, what: str) -> Any:
    from accord.study.run_folder import result_types

    tell(f"{folder}: {what}", err=True)
    return result_types()[name.partition("/")[0]].read(folder)


def refuse_damaged(*runs: Path) -> None:
    """End a command that left out what is damaged in these run folders: say what, and what to do, with exit code 1."""
    from accord.study.run_folder import damage

    found = [(run, name, what) for run in runs for name, what in damage(run).items()]
    for run, name, what in found:
        tell(f"{run / name}: damaged, and left out: {what}", err=True)
    for run in dict.fromkeys(run for run, _, _ in found):
        tell(f"What to do about it: accord check {run}", err=True)
    if found:
        raise typer.Exit(1)


# Printing


def in_terminal() -> bool:
    """Whether a person sees what is printed, so that it should be short."""
    return Screen().is_terminal


def print_text(text: str, widest: int = 100, style: str | None = None) -> None:
    """A paragraph, wrapped between words in a terminal; without one as it is."""
    if in_terminal():
        console = Screen()
        console.print(text, width=min(widest, console.width), style=style)
    else:
        tell(text)


def print_finding(finding: "Finding") -> None:
    """A finding as the page leads with it: the claim, what it rests on, and what to know before quoting it."""
    print_text(finding.headline, style="bold")
    for text in (finding.evidence, finding.others):
        if text:
            print_text(text)
    for remark in finding.remarks:
        print_text(f"– {remark}")


def print_next(*commands: str) -> None:
    """The commands that a reader of these results may want next."""
    tell("\nNext: " + "\n      ".join(commands))


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None, widest: int | None = None
) -> None:
    """A table as wide as the terminal, or as `widest`; without a terminal plain and complete, however wide."""
    plain = not in_terminal()
    width = 10_000 if plain else min(widest or 10_000, Screen().width)
    console = Screen(width=width)
    table = Table(*header, title=None if plain else title, box=None if plain else box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def screen() -> Screen:
    """Where results are printed: as wide as the terminal, and without one so wide that nothing is cut."""
    return Screen(width=None if in_terminal() else 10_000)


def plain_table(header: Sequence[str], rows: Iterable[Sequence[str | Text]], right: Iterable[str] = ()) -> Table:
    """A table of columns beside each other, without lines; nothing in a cell is cut but by the end of the terminal.

    Args:
        right: columns of numbers, which end at one place.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in header:
        table.add_column(name, justify="right" if name in set(right) else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def print_listing(header: Sequence[str], rows: Sequence[Sequence[str | Text]], right: Iterable[str] = ()) -> None:
    """A line a row, whose last column is a text: beside the others, or below them where the terminal is narrow."""
    console, facts, texts = screen(), [row[:-1] for row in rows], [row[-1] for row in rows]
    if console.width >= _BESIDE:
        table = plain_table(header, rows, right)
        table.columns[-1].no_wrap, table.columns[-1].overflow = False, "fold"
        console.print(table)
        return
    first, *lines = console.render_lines(plain_table(header[:-1], facts, right), pad=False)
    console.print(Segments([*first, Segment.line()]), end="")
    for line, text in zip(lines, texts, strict=True):
        console.print(Segments([*line, Segment.line()]), end="")
        console.print(Padding(text, (0, 0, 0, 2)))


def print_record(name: str, about: str, properties: Mapping[str, str]) -> None:
    """A name, what it is, and its properties, a line each: complete in any width."""
    tell(f"{name}: {about}")
    for label, text in properties.items():
        tell(f"  {label:<24}" + text.replace("\n", "\n" + " " * 26))


def decimals(value: float | None, missing: str = "undefined") -> str:
    """A number with three decimals.

    >>> decimals(0.12345), decimals(None)
    ('0.123', 'undefined')
    """
    return missing if value is None else f"{value:z.3f}"


def confirmed(question: str, yes: bool) -> bool:
    """Whether the user wants it: asked in a terminal, unless said before.

    Raises AccordError where nobody can be asked.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise AccordError("Nothing was removed: there is no terminal to ask in.", fix="say that you want it: --yes")
    return typer.confirm(question)


def progress_console() -> Screen:
    """Where progress is drawn: standard error, apart from results."""
    return Screen(stderr=True)


# Remarks that several commands make


def say_if_little(mass: float, remedy: str, of: str = "") -> None:
    """A warning if so little probability, `mass` in the mean, is on the label words that log-odds mean little.

    Args:
        remedy: the command that shows what would help.
        of: whose probability it is, as the sentence begins.
    """
    if mass < _LITTLE:
        warning = f"{of}Only {mass:.0%} of the probability is on the label words: the validator's score means little."
        tell(f"{warning}\nWhat it says instead, and what helps: {remedy}", err=True)


def say_how_read(task: "Task") -> None:
    """Which rows of a data file gave no item, and what else of it is not plain."""
    from accord.tasks import left_out

    if line := left_out(task):
        tell(line, err=True)
