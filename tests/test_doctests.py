"""Examples in docstrings run, and give what they say."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import accord

_ROOT = Path(accord.__file__).parent
_WITH_EXAMPLES = [path for path in sorted(_ROOT.rglob("*.py")) if ">>>" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", _WITH_EXAMPLES, ids=lambda path: path.relative_to(_ROOT).as_posix())
def test_examples_give_what_they_say(path: Path) -> None:
    if path == _ROOT / "harness" / "model.py":  # a class of that library
        pytest.importorskip("lm_eval", reason="of lm-evaluation-harness (pip install 'accord[harness]')")
    name = ".".join(["accord", *path.relative_to(_ROOT).with_suffix("").parts]).removesuffix(".__init__")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(import_module(name), optionflags=flags, extraglobs={"accord": accord}).failed == 0
