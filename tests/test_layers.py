"""What a study is read with, and a run is shown with, needs no torch: commands that load no model start at once."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import accord.report
from accord.capabilities import CAPABILITIES

_ALONE = ["accord.capabilities", "accord.section", "accord.kinds", "accord.study.root", "accord.study.template"]


_READ = ["accord.study.run", "accord.study.search_result"]


def test_sections_need_no_torch():
    modules = [*_ALONE, *(f"{capability}.config" for capability in CAPABILITIES)]
    assert all(find_spec(module) for module in modules)
    _import_without_torch(modules)


def test_results_and_pages_need_no_torch():
    parts = [f"{capability}.{name}" for capability in CAPABILITIES for name in ("result", "page")]
    kit = [f"accord.report.{path.stem}" for path in Path(accord.report.__file__).parent.glob("[!_]*.py")]
    modules = [*_READ, *kit, *(module for module in parts if find_spec(module))]
    assert {"accord.gap.result", "accord.gap.page"} <= set(modules)
    _import_without_torch(modules)


def _import_without_torch(modules):
    code = f"""
import importlib, sys
for module in {modules!r}:
    importlib.import_module(module)
    for heavy in ("torch", "transformers"):
        assert heavy not in sys.modules, (module, heavy)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
