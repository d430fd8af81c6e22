"""Every metric that is measured is explained, and is defined where the page says."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import accord.errors
from accord.gap.glossary import MAIN, TERMS, term


@pytest.fixture(scope="module")
def metrics() -> ModuleType:
    """`accord.gap.metrics` by its file: the room it stands in would import torch, for seconds."""
    path = Path(accord.errors.__file__).parent / "gap" / "metrics.py"
    spec = importlib.util.spec_from_file_location("gap_metrics_alone", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_measure_has_an_entry(metrics: ModuleType) -> None:
    assert {*metrics.MEASURES, *metrics.WITHIN} <= set(TERMS)
    assert set(MAIN) <= set(metrics.MEASURES)


def test_definitions_exist(metrics: ModuleType) -> None:
    for entry in TERMS.values():
        for name in re.findall(r"accord\.gap\.metrics\.(\w+)", entry.defined):
            assert hasattr(metrics, name)


def test_unknown_metric_is_shown_under_its_own_name() -> None:
    assert term("some_new_thing").label == "some new thing"
