"""The command line: every room's commands in an application, and a message for whatever stops them.

Rooms are imported inside the commands, so that `accord --help` does not wait for torch.
"""

import os
import sys
import traceback
from importlib.abc import MetaPathFinder
from typing import Annotated, Any

import typer

from accord import capabilities, signals
from accord.disk import is_full, say_full
from accord.errors import AccordError
from accord.screen import tell, visible
from accord.terminal import as_command

GROUND = ("accord.lm", "accord.tasks", "accord.study", "accord.report", "accord.sharing")
"""Packages that have commands and are not capabilities."""

PANELS = {
    "One model and one task": ("gap", "show", "explore", "forecast", "repair", "verdict", "damage", "pathway", "merge"),
    "A study: all of it, from one file": ("init", "run", "search", "status", "open"),
    "Its concepts and texts, one step at a time": (
        *("embed", "train", "names", "explain", "steer", "generate", "perplexity"),
    ),
    "Runs that are there": ("runs", "diff", "check", "report", "export", "push", "rm"),
    "What accord can read": ("models", "prove", "tasks", "cache"),
}
"""How `accord --help` groups the commands, in the order in which one meets them; others come last."""
_OTHERS = "Other commands"
_BEGIN = "Begin with: accord gap --model smollm2-135m --task hypernymy --limit 100"


class Commands(typer.core.TyperGroup):
    """Turns whatever stops a command into a message and an exit code; see `_explain`."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            with signals.working():
                result = super().invoke(ctx)
                sys.stdout.flush()  # a reader that is gone is noticed here, not at exit
            return result
        except (Exception, KeyboardInterrupt) as error:
            if signals.received() is not None:
                signals.leave()
            if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise typer.Exit(141) from None
            if type(error).__module__.startswith(("typer", "click")):  # usage errors, exits
                if hasattr(error, "message"):  # quotes what was typed
                    error.message = visible(str(error.message))
                raise
            if ctx.params.get("debug"):
                tell(traceback.format_exc(), err=True)
            message, code = _explain(error)
            tell(message, err=True)
            raise typer.Exit(code) from None


def _explain(error: BaseException) -> tuple[str, int]:
    """The message and the exit code for what stopped a command."""
    if isinstance(error, AccordError):
        return f"error: {error}", error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return signals.message(), signals.exit_code()
    if is_full(error):
        return f"error: {say_full(error)}", 1
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"error: {error.strerror}: {error.filename}", 1
    if isinstance(error, MemoryError):
        return "error: Memory ran out. Ask for less at a time.", 1
    problem = f"{type(error).__name__}: {error}".splitlines()[0]
    return f"error: {problem}\nThis is a bug in accord. For the traceback: accord --debug COMMAND …", 1


def _version(show: bool) -> None:
    if show:
        from accord import __version__

        tell(f"accord {__version__}")
        raise typer.Exit


def accord(
    debug: Annotated[bool, typer.Option("--debug", help="Show the full traceback of any error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Find where a language model disagrees with itself."""


def application() -> typer.Typer:
    """The command line: the commands of the ground and of each capability in the list now, by `PANELS`."""
    commands = typer.Typer(
        cls=Commands,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=_BEGIN,
    )
    commands.callback()(accord)
    modules = [capabilities.part(package, "command") for package in (*GROUND, *capabilities.CAPABILITIES)]
    functions = {of.__name__: of for module in modules if module is not None for of in module.COMMANDS}
    panels = {name: panel for panel, names in PANELS.items() for name in names if name in functions}
    for name in dict.fromkeys([*panels, *functions]):
        commands.command(rich_help_panel=panels.get(name, _OTHERS))(as_command(functions[name]))
    return commands


app = application()


class _SaysThatTorchLoads(MetaPathFinder):
    """Says that a command is loading PyTorch, which takes seconds, when the first import of it begins."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        """Find nothing: the finders after this one do."""
        if fullname == "torch":
            sys.meta_path.remove(self)
            tell("loading PyTorch", err=True)


def main() -> None:
    """Run the command line; `accord.__main__` hears signals before this is imported."""
    # Bars of libraries would tear accord's own; what matters of their logs is in its errors.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    sys.meta_path.insert(0, _SaysThatTorchLoads())
    app(prog_name="accord")
