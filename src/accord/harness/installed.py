"""Whether lm-evaluation-harness is installed: said before anything is loaded."""

from importlib.metadata import version
from importlib.util import find_spec

from accord.errors import MissingLibrary


def check_installed() -> None:
    """MissingLibrary unless lm-evaluation-harness is installed."""
    if find_spec("lm_eval") is None:
        raise MissingLibrary(
            "tasks of lm-evaluation-harness need the package lm_eval", fix="pip install 'accord[harness]'"
        )


def installed_version() -> str:
    """Its version: task files, few-shot examples and metrics are its own."""
    check_installed()
    return version("lm_eval")
