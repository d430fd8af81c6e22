"""The tests of tests/gpu on a device that is not there: what a GPU refuses to mix is refused on any machine."""

import os
import subprocess
import sys
from pathlib import Path

from tests import devices
from tests.gpu.conftest import ON


def test_all_keeps_to_its_device() -> None:
    root = Path(__file__).parents[1]
    words = [sys.executable, "-m", "pytest", "tests/gpu", "-p", "no:cacheprovider", "-x"]
    done = subprocess.run(
        words, cwd=root, check=False, capture_output=True, text=True, env=os.environ | {ON: devices.NAME}
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout and "not tested" not in done.stdout
