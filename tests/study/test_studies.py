"""The ready study files: each is whole and right, as `accord run --check` sees it."""

from pathlib import Path

import pytest

from accord.study.config import load
from accord.study.validate import check

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_it_passes_the_check(path):
    check(load(path))


def test_they_are_all_here():
    assert {path.stem for path in STUDIES} >= {"demo", "smollm2", "gpu-7b"}
