"""The check of a card runs to its end with tiny sizes on a CPU, and tells what it found."""

import subprocess
import sys
from pathlib import Path

from tests.tiny import tiny_hub_folder

ROOT = Path(__file__).parents[1]


def test_a_dry_run(tmp_path: Path) -> None:
    tiny_hub_folder(tmp_path / "model")
    words = [sys.executable, "scripts/gpu_check.py", str(tmp_path / "model"), "--device", "cpu", "--small"]
    done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    said = done.stdout
    for what in ("l_G of", "embeddings", "gradient of a repair", "items scored, layers", "tokens extracted"):
        assert what in said
    for what in ("tokens written", "RankAlign", "topk", "batchtopk", "matryoshka", "jumprelu", "l1", "bernoulli"):
        assert what in said
    for what in ("lcblm", "lcblm-shared"):
        assert what in said
    assert "holds" in said and "NO" not in said and "torch 2" in said
    assert "out of memory" not in said and "no time left" not in said
