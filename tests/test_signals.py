"""Ctrl-C, SIGTERM and SIGHUP: heard at any moment, told without a traceback, with the command that goes on."""

import os
import signal
import subprocess
import sys

import pytest

SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"]
BEGINS = "import os, signal, sys, time\nsys.argv = ['accord', 'run', 'study.toml']\nfrom accord import signals\n"
INSTALLED = (
    f"{BEGINS}from accord.study.provenance import command\nsignals.install(command)\n"
    "me = lambda name: os.kill(os.getpid(), getattr(signal, name))\n"
)
AS_A_COMMAND = """
import typer
from accord import cli
def work(): {work}
app = typer.Typer(cls=cli.Commands, pretty_exceptions_enable=False)
app.command()(work)
app.command("other")(lambda: None)
app(["work"])
"""


def ended(code, *, signals=(), **options):
    """How a Python program ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["src", *sys.path])},
        **options,
    )
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def told(code, name, err):
    assert code == 128 + getattr(signal, name), err
    assert "Traceback" not in err and "KeyboardInterrupt" not in err
    assert err.count("interrupted; the same command goes on") == 1 and "\n  accord run study.toml\n" in err


@pytest.mark.parametrize("name", SIGNALS)
def test_before_the_work_begins(name):
    code, _, err = ended(f"{INSTALLED}me({name!r})\ntime.sleep(9)")
    told(code, name, err)


@pytest.mark.parametrize(
    ("name", "work"),
    [
        *((name, "me(NAME); time.sleep(9)") for name in SIGNALS),
        ("SIGINT", "me(NAME); me(NAME); me(NAME); time.sleep(9)"),
        ("SIGINT", "\n  try: me(NAME); time.sleep(9)\n  finally: me(NAME); time.sleep(9)"),
        ("SIGTERM", "\n  try: me(NAME); time.sleep(9)\n  except BaseException: pass"),  # swallowed, and the work ends
        ("SIGINT", "\n  try: me(NAME); time.sleep(9)\n  except BaseException: raise ImportError('numpy is broken')"),
    ],
    ids=[*SIGNALS, "three-times", "while-clearing-up", "swallowed", "made-another-error"],
)
def test_while_a_command_works(name, work):
    code, _, err = ended(INSTALLED + AS_A_COMMAND.format(work=work.replace("NAME", repr(name))))
    told(code, name, err)
    assert "a bug" not in err


@pytest.mark.parametrize(
    "swallows",
    [
        "\n  try: me('SIGINT'); time.sleep(9)\n  except BaseException: time.sleep(9)",
        "\n  class Dies:\n    def __del__(self): me('SIGINT'); time.sleep(.1)\n  Dies(); time.sleep(9)",
    ],
    ids=["by-a-library", "while-an-object-is-deleted"],
)
def test_what_is_swallowed_comes_again(swallows):
    code, _, err = ended(f"{INSTALLED}signals._PATIENCE = .2\n" + AS_A_COMMAND.format(work=swallows))
    told(code, "SIGINT", err)


def test_what_is_ignored_stays_so():
    code, out, err = ended(
        f"{BEGINS}signal.signal(signal.SIGHUP, signal.SIG_IGN)\nsignals.install()\n"
        "os.kill(os.getpid(), signal.SIGHUP)\nprint('goes on')"
    )
    assert (code, out, err) == (0, "goes on\n", "")


def test_a_terminal_that_is_gone():
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-c", INSTALLED + AS_A_COMMAND.format(work="me('SIGHUP'); time.sleep(9)")],
        stderr=writer,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["src", *sys.path])},
        check=False,
    )
    os.close(writer)
    assert process.returncode == 128 + signal.SIGHUP


def test_the_command_hears_before_it_imports():
    code = (
        "import sys\nfrom accord import __main__\nbefore = {'typer', 'pydantic', 'rich', 'torch'} & set(sys.modules)\n"
        "print(before)"
    )
    assert ended(code)[:2] == (0, "set()\n")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_what_a_signal_ends_properly_is_no_interruption(name):
    """A server: it has nothing that could be gone on with."""
    serving = "\n  try: me(NAME); time.sleep(9)\n  except KeyboardInterrupt: signals.heard()".replace(
        "NAME", repr(name)
    )
    code, _, err = ended(INSTALLED + AS_A_COMMAND.format(work=serving))
    assert (code, err) == (0, "")
