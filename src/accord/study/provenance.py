"""What a manifest says about how results came to be: versions and the command line, never a secret."""

import os
import platform
import re
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("accord", "torch", "transformers", "numpy")
HIDDEN = "(hidden)"

_SECRET_NAME = re.compile(r"token|secret|password|passwd|credential|api[-_]?key", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"\b(?:hf_|sk-|ghp_|github_pat_)[\w-]{8,}|(?<=://)[^/@\s]+(?=@)")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that the numbers depend on; importing none of them."""
    numbers = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            numbers[package] = version(package)
        except PackageNotFoundError:  # run from a source tree that is not installed
            numbers[package] = "unknown"
    return numbers


def command(arguments: list[str] | None = None) -> str:
    """The command line as typed, with what looks like a secret hidden.

    >>> command(["accord", "names", "--api-key=abc"])
    "accord names '--api-key=(hidden)'"
    """
    return shlex.join(command_words(arguments))


def command_words(arguments: list[str] | None = None) -> list[str]:
    """The words of the command line, with what looks like a secret hidden."""
    words = [Path(sys.argv[0]).name, *sys.argv[1:]] if arguments is None else arguments
    if words[0] == "__main__.py":  # python -m accord
        words = ["accord", *words[1:]]
    safe = []
    hide_next = False
    for word in words:
        option, equals, _ = word.partition("=")
        is_secret = word.startswith("-") and _SECRET_NAME.search(option) is not None
        if hide_next and not word.startswith("-"):
            safe.append(HIDDEN)
        elif is_secret and equals:
            safe.append(f"{option}={HIDDEN}")
        else:
            safe.append(_without_secrets(word))
        hide_next = is_secret and not equals
    return safe


def _without_secrets(word: str) -> str:
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET_NAME.search(name):
            word = word.replace(value, HIDDEN)
    return _SECRET_VALUE.sub(HIDDEN, word)
