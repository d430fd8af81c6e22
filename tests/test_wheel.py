"""What `python -m build` packs: every file that the package reads beside its code."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_data_file_is_packed():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["accord"]
    package = ROOT / "src" / "accord"
    packed = {path for pattern in patterns for path in package.glob(pattern)}
    data = {path for path in package.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    assert data and data <= packed
