"""No stage of a study mixes tensors of the model's device with the CPU's: what a GPU refuses is refused here."""

import json
import subprocess
import sys
from pathlib import Path

from tests.tiny import tiny_hub_folder, tiny_texts

STUDY = """\
name = "s"

[backbone]
model = "model"
dtype = "float32"

[[gap]]
task = "hypernymy"
validator_shots = "zero"
limit = 24

[[repair]]
kind = "rankalign"
allow_low_mass = true
validator_shots = "zero"
limit = 24
steps = 2
batch = 4
micro_batch = 2

[text]
source = "texts.txt"
max_tokens = 150
held_out_tokens = 60

[[concepts]]
kind = "topk"
size = 16
k = 4
training = { steps = 4, batch = 64 }

[explain]
limit = 20
candidates = 4
chosen = 2
draws = 2
"""


def test_a_study_keeps_to_its_device(tmp_path: Path) -> None:
    tiny_hub_folder(tmp_path / "model")
    (tmp_path / "texts.txt").write_text("\n".join(tiny_texts()))
    (tmp_path / "study.toml").write_text(STUDY)
    words = [sys.executable, "-m", "tests.devices", str(tmp_path / "study.toml"), str(tmp_path / "run")]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for stage in ("gap/hypernymy-validator-zero", "explain/topk-s0", "repair/rankalign-s0"):
        manifest = json.loads((tmp_path / "run" / stage / "manifest.json").read_text())
        assert manifest["facts"].get("device", "elsewhere") == "elsewhere"
