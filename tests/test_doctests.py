"""Examples in docstrings run, and give what they say."""

import doctest
import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import accord

_ROOT = Path(accord.__file__).parent
_WITH_EXAMPLES = [path for path in sorted(_ROOT.rglob("*.py")) if ">>>" in path.read_text(encoding="utf-8")]


_load = cache(accord.load)


@pytest.fixture(autouse=True)
def _one_model_and_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Examples that load the same model share it, and what they write is not left behind."""

    def load(*args: object, **options: object) -> object:
        return _load(*map(str, args), **options)

    monkeypatch.setattr(accord, "load", load, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.parametrize("path", _WITH_EXAMPLES, ids=lambda path: path.relative_to(_ROOT).as_posix())
def test_examples_give_what_they_say(path: Path) -> None:
    if path == _ROOT / "harness" / "model.py":  # a class of that library
        pytest.importorskip("lm_eval", reason="of lm-evaluation-harness (pip install 'accord[harness]')")
    name = ".".join(["accord", *path.relative_to(_ROOT).with_suffix("").parts]).removesuffix(".__init__")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(import_module(name), optionflags=flags, extraglobs={"accord": accord}).failed == 0
