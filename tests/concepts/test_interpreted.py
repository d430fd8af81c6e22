"""What a GPU's kernels compute, without a GPU."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from accord.concepts import build, fit, read_config
from accord.concepts.config import Training
from accord.concepts.replay import Replay
from accord.concepts.topk import places_of_largest


def test_kernels() -> None:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("of the kernels of a GPU in Triton's interpreter (pip install triton, on Linux)")
    words = [sys.executable, "-m", "tests.concepts.interpreted"]
    root = Path(__file__).parents[2]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(words, cwd=root, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and done.stdout.endswith("all alike\n"), done.stderr[-3000:]


@pytest.mark.parametrize(("K", "k"), [(4096, 48), (65_536, 80), (100, 7), (64, 4), (4096, 4096)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_largest_are_found_by_groups(K: int, k: int, dtype: torch.dtype) -> None:
    values = torch.randn(13, K, generator=torch.Generator().manual_seed(K)).to(dtype)
    places = places_of_largest(values, k)
    assert places.sort(1).values.diff(dim=1).gt(0).all()
    found = values.gather(1, places).sort(1).values
    assert torch.equal(found, values.topk(k).values.sort(1).values)


def test_on_a_cpu_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replay, "__call__", None)
    x = torch.randn(16, 8)
    model = build(read_config({"kind": "topk", "size": 12, "k": 3}), 8)
    assert fit(model, lambda _: iter([x] * 9), Training(steps=5, log_every=1)).steps == 5
