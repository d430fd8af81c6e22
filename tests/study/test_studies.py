"""The ready study files: each is whole and right, as `accord run --dry-run` sees it."""

from pathlib import Path

import pytest

from accord.study import plan_study
from accord.study.config import load

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_it_passes_the_check(path):
    assert plan_study(load(path)).stages


def test_they_are_all_here():
    assert {path.stem for path in STUDIES} >= {"demo", "smollm2", "gpu-7b", "gpu-70b"}
