"""What make does to a user's machine: it keeps results, and its installations say nothing but errors."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def planned(target):
    if shutil.which("make") is None:
        pytest.skip("of the Makefile (apt install make)")
    made = subprocess.run(["make", "-n", "-B", target], cwd=ROOT, capture_output=True, text=True, check=True)
    return made.stdout


def test_clean_leaves_results():
    removed = planned("clean").split()
    assert ".venv" in removed and "runs" not in removed and "runs/" not in removed


@pytest.mark.parametrize("target", ["setup", "test-oldest", "bench", "docs", "mutants"])
def test_installations_say_nothing_but_errors(target):
    """Quiet twice is errors only; three times would hide these too."""
    installs = re.findall(r"-m pip install .*", planned(target))
    assert installs and all(line.count("--quiet") == 2 for line in installs)


def test_the_tests_of_a_gpu_are_those_of_their_folder():
    assert "-m pytest -m gpu tests/gpu" in planned("test-gpu")
