"""Whoever runs the tests reads at the end what was not tested, and how to have it tested."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_last_line_tells_what_was_not_tested(tmp_path):
    (tmp_path / "test_sea.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('wave', range(12))\n"
        "@pytest.mark.skipif(True, reason='of the sea (bring a boat)')\n"
        "def test_sea(wave): ...\n"
        "@pytest.mark.skip(reason='of the sky (bring wings)')\n"
        "def test_sky(): ...\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "--noconftest", str(tmp_path)]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    said = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "not tested: 12 of the sea (bring a boat), 1 of the sky (bring wings)"
