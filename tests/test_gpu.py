"""The tests of tests/gpu on a device that is not there: what a GPU refuses to mix is refused on any machine."""

import os
import subprocess
import sys
from pathlib import Path

from tests import devices
from tests.gpu.conftest import ON

# The study with every section, and the commands on its run, take minutes on it. They are tried apart:
# ACCORD_TEST_DEVICE=elsewhere python -m pytest tests/gpu/test_study.py
APART = ("test_a_study_with_every_section_to_its_page", "test_a_command")


def test_all_keeps_to_its_device() -> None:
    root = Path(__file__).parents[1]
    words = [sys.executable, "-m", "pytest", "tests/gpu", "-p", "no:cacheprovider", "-x"]
    words += [f"--deselect=tests/gpu/test_study.py::{name}" for name in APART]
    done = subprocess.run(
        words, cwd=root, check=False, capture_output=True, text=True, env=os.environ | {ON: devices.NAME}
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout and "not tested" not in done.stdout
