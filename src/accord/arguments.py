"""Arguments of public functions, checked by their annotations: what people pass is what the code was written for."""

import functools
import inspect
import math
import operator
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, Protocol, TypeVar, Union, get_args, get_origin

from accord.disk import is_full
from accord.errors import AccordError, nearest
from accord.progress import bar

P = ParamSpec("P")
R = TypeVar("R")

# What a whole number of this name is at least, in every function.
_AT_LEAST = {
    **dict.fromkeys(("seed", "resamples", "first", "start_step"), 0),
    **dict.fromkeys(("batch_tokens", "max_tokens", "size", "steps"), 1),
}
# Where an object of a class comes from.
_MADE_BY = {"LanguageModel": "accord.load", "Task": "accord.task", "ConceptModel": "accord.concepts.load"}


class _Mismatch(Exception):
    """A value that an annotation does not allow; the text says what it does allow."""


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """The function, but arguments that it does not take, and files that it cannot use, raise an AccordError.

    Numbers and lists of numpy, pandas and torch count as numbers and lists, paths may be text and text may be a path;
    nothing else is converted. True is not 1, "10" is not 10, and a string is not a list of its letters.

    A function that tells its `progress` takes True for it: a bar is shown while it works.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = _bound(function, signature, args, kwargs)
        watched = bound.arguments.get("progress")
        if isinstance(watched, bool):
            with bar(function.__name__) if watched else nullcontext() as shown:
                return call(*args, **{**kwargs, "progress": shown})  # type: ignore[arg-type]
        for name, value in bound.arguments.items():
            parameter = signature.parameters[name]
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or value is parameter.default:
                continue
            try:
                bound.arguments[name] = _accepted(value, _resolved(parameter.annotation, function), name)
            except _Mismatch as mismatch:
                raise AccordError(
                    f"{function.__name__} does not take this as {name!r}",
                    got=f"{_shown(value)} ({type(value).__name__})",
                    wanted=mismatch,
                ) from None
        try:
            return function(*bound.args, **bound.kwargs)
        except OSError as error:
            # Of libraries, some name the file in their message alone.
            about_file = isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError | IsADirectoryError)
            if is_full(error) or not (about_file or (error.strerror and error.filename is not None)):
                raise
            raise AccordError(error.strerror or str(error).splitlines()[0], where=error.filename) from error

    return call


def _bound(
    function: Callable[..., Any], signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> inspect.BoundArguments:
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        names = list(signature.parameters)
        unknown = [name for name in kwargs if name not in names]
        wanted = nearest(unknown[0], names) if unknown else f"{function.__name__}({', '.join(names)})"
        raise AccordError(f"{function.__name__} is not called like this: {error}", wanted=wanted) from None


def _resolved(annotation: Any, function: Callable[..., Any]) -> Any:
    """What an annotation in quotes stands for; Any if the name is imported for type checkers only."""
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, vars(sys.modules[function.__module__]))  # our own source, as the class statement does
    except NameError:
        return Any


def _accepted(value: Any, annotation: Any, name: str) -> Any:
    """The value as the annotation has it, or a _Mismatch."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        return _accepted_by_any(value, get_args(annotation), name)
    if get_origin(annotation) is Literal:
        if isinstance(value, str) and value in get_args(annotation):
            return value
        raise _Mismatch(" or ".join(map(repr, get_args(annotation))))
    kind = get_origin(annotation) or annotation
    if kind in _PLAIN:
        return _PLAIN[kind](value, name)
    if kind in (Sequence, list, tuple, Iterable):
        return _accepted_list(value, kind, get_args(annotation), name)
    if _is_device(kind):
        return _device(value)
    if kind is not Any and isinstance(kind, type) and not _is_instance(value, kind):
        raise _Mismatch(_called(kind))
    return value


def _accepted_by_any(value: Any, annotations: Sequence[Any], name: str) -> Any:
    if type(value) in annotations and type(value) not in (*_PLAIN, str):  # of thousands in a list, each at once
        return value
    allowed = []
    if any(map(_is_device, annotations)):  # beside it, text names a device
        annotations = [annotation for annotation in annotations if annotation is not str]
    if Path in annotations and isinstance(value, str | os.PathLike) and not _names_a_file(value):
        raise _Mismatch("text or a path without zero bytes")
    first = (
        Path if isinstance(value, os.PathLike) else str
    )  # text stays text and a path a path where the annotation allows both
    for annotation in sorted(annotations, key=lambda kind: (kind is NoneType, kind is not first)):
        try:
            return _accepted(value, annotation, name)
        except _Mismatch as mismatch:
            allowed.append(str(mismatch))
    raise _Mismatch(" or ".join(dict.fromkeys(allowed)))


def _accepted_list(value: Any, kind: type, of: tuple[Any, ...], name: str) -> Any:
    sized = kind is Iterable or (hasattr(value, "__len__") and hasattr(value, "__getitem__"))
    if isinstance(value, str | bytes | Mapping) or not (sized and hasattr(value, "__iter__")):
        raise _Mismatch(f"a list{_of(of)}")
    if getattr(value, "ndim", 1) != 1:
        raise _Mismatch(f"a list{_of(of)}, not a table")
    if kind is Iterable or not of or (kind is tuple and of[-1] is not Ellipsis):
        return value
    elements = []
    for i, element in enumerate(value):
        try:
            elements.append(_accepted(element, of[0], name))
            if isinstance(element, str) and not element.isascii():
                element.encode("utf-8")
        except UnicodeEncodeError:  # half of a pair: no tokenizer takes it
            raise _Mismatch(f"a list of texts of whole characters; element {i} is {element[:80]!a}") from None
        except _Mismatch as mismatch:
            raise _Mismatch(f"a list, each of it {mismatch}; element {i} is {_shown(element)}") from None
    return value if isinstance(value, Sequence) else elements


def _of(of: tuple[Any, ...]) -> str:
    """What a list is of, in words."""
    if not of:
        return ""
    kinds = get_args(of[0]) if get_origin(of[0]) in (Union, UnionType) else [of[0]]
    words = {str: "texts", int: "whole numbers", float: "numbers"}
    names = [words.get(kind) or f"{getattr(kind, '__name__', kind)} objects" for kind in kinds]
    return " of " + " or ".join(sorted(names, key=lambda name: name[0].isupper()))


def _whole(value: Any, name: str) -> int:
    least = _AT_LEAST.get(name)
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least):
        raise _Mismatch("a whole number" + ("" if least is None else f", {least} or more"))
    if abs(number) >= 2**63:
        raise _Mismatch("a whole number that 64 bits hold")
    return number


def _number(value: Any, name: str) -> float:
    try:
        number = math.nan if isinstance(value, bool | str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _Mismatch("a finite number")
    return number


def _flag(value: Any, name: str) -> bool:
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):  # numpy's
        return bool(value)
    raise _Mismatch("True or False")


def _text(value: Any, name: str) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        return str(value)
    raise _Mismatch("text")


def _path(value: Any, name: str) -> Path:
    if isinstance(value, str | os.PathLike) and value and _names_a_file(value):
        return Path(value)
    raise _Mismatch("a path")


def _names_a_file(value: str | os.PathLike[str]) -> bool:
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _is_device(kind: Any) -> bool:
    """Whether this is `torch.device`, going by its name, so that torch need not be imported."""
    return getattr(kind, "__module__", "") == "torch" and getattr(kind, "__name__", "") == "device"


def _device(value: Any) -> Any:
    import torch

    try:
        device = torch.device(value)
        torch.empty(0, device=device)  # raises if this machine has no such device
    except (RuntimeError, AssertionError, TypeError, NotImplementedError):
        raise _Mismatch("a device of this machine, such as cpu or cuda:0") from None
    return device


def _none(value: Any, name: str) -> None:
    if value is not None:
        raise _Mismatch("None")


_PLAIN: dict[Any, Callable[[Any, str], Any]] = {
    int: _whole,
    float: _number,
    bool: _flag,
    str: _text,
    Path: _path,
    NoneType: _none,
    None: _none,
}


def _is_instance(value: Any, kind: type) -> bool:
    """`isinstance`, for protocols too: the value has every attribute that the protocol names."""
    if not getattr(kind, "_is_protocol", False):
        return isinstance(value, kind)
    if isinstance(value, type):
        return False
    protocols = [base for base in kind.__mro__ if base is not Protocol and getattr(base, "_is_protocol", False)]
    names = {name for base in protocols for name in (*vars(base), *vars(base).get("__annotations__", {}))}
    return all(hasattr(value, name) for name in names if not name.startswith("_"))


def _called(kind: type) -> str:
    made_by = _MADE_BY.get(kind.__name__)
    return f"a {kind.__name__}" + (f", as {made_by} gives" if made_by else "")


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # of a class of the user's
        text = "an object"
    return text if len(text) <= 80 else text[:80] + "…"
