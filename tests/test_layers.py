"""What a study file is read with needs no torch: commands that load no model start at once."""

import subprocess
import sys
from importlib.util import find_spec

from accord.capabilities import CAPABILITIES

_ALONE = ["accord.capabilities", "accord.section", "accord.kinds", "accord.study.root", "accord.study.template"]


def test_sections_need_no_torch():
    modules = [*_ALONE, *(f"{capability}.config" for capability in CAPABILITIES)]
    assert all(find_spec(module) for module in modules)
    code = f"""
import importlib, sys
for module in {modules!r}:
    importlib.import_module(module)
    for heavy in ("torch", "transformers"):
        assert heavy not in sys.modules, (module, heavy)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
