"""Every kind of repair, made on a GPU, says what it says when it is made on the CPU."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import accord
from accord.concepts import build, read_config
from accord.gap import measure_gap
from accord.lm import LanguageModel
from accord.repair.apply import repair
from accord.repair.config import KINDS, read_repair
from accord.tasks import Task

TRAINED = {"steps": 2, "batch": 4, "r": 2, "dropout": 0.0, "allow_low_mass": True}
SEARCHED = {"items": 10, "texts": 4, "allow_low_mass": True}
TABLES: dict[str, dict[str, Any]] = {
    "rankalign": {**TRAINED, "direction": "both", "reference": True, "micro_batch": 3},
    "flora-pmi": TRAINED | {"gold": 0.5, "labelled": 0.9, "refresh": 1, "batch": 18},
    "flora-neg": TRAINED | {"micro_batch": 3, "batch": 18},
    "sft": {**TRAINED, "form": "union"},
    "consistency": {**TRAINED, "rounds": 2},
    "dpo": TRAINED,
    "readout": {"positions": 60, "allow_low_mass": True},
    "calibrate": {"positions": 20, "allow_low_mass": True},
    "direction": {**SEARCHED, "positions": 1, "tries": 1, "factors": [0.5, 1.0]},
    "concepts": {**SEARCHED, "counts": [4], "factors": [0.5], "attributed": 10},
}
NATS = 2e-3  # a few updates, or a choice by perplexity, over float32's own error


def test_none_is_left_out() -> None:
    assert set(TABLES) == set(KINDS)


@pytest.mark.parametrize("kind", TABLES)
def test_a_repair(
    kind: str, models: tuple[LanguageModel, LanguageModel], base: Path, letters: Task, texts: list[str], tmp_path: Path
) -> None:
    seen = []
    for lm in models:
        edited = None
        if kind == "concepts":
            concepts = build(read_config({"kind": "lcblm", "concepts": 6, "width": 3, "prior": 0.3}), 32, seed=3)
            edited = (concepts.to(lm.device).eval(), 2)
        folder, config = tmp_path / lm.device.type, read_repair({"kind": kind, **TABLES[kind]})
        repair(lm, letters, config, folder=folder, base=str(base), concepts=edited, texts=texts)
        made = accord.load(folder, device="auto" if lm is models[1] else "cpu", dtype="float32")
        assert made.device.type == lm.device.type
        seen.append(measure_gap(made, replace(letters, items=letters.items[::5]), resamples=0).scores)
    for form in ("generator_logodds", "validator_logodds"):
        np.testing.assert_allclose(seen[0][form], seen[1][form], atol=NATS)
