"""The explorer of a tiny run, served for tests in a process of its own; digits in a question make it slow or fail.

python -m tests.explore.tiny_site FOLDER        prints the address, and serves until it is killed
"""

import sys
import time
from pathlib import Path
from unittest import mock

import torch

from accord import study
from accord.explore import server
from accord.explore.subject import Subject
from accord.lm.edited import backbone_of
from tests.tiny import tiny_model, tiny_texts, tiny_tokenizer

SLOW, FAILS = "7", "9"  # in a prompt: each forward pass takes a while, or fails
STUDY = """\
name = "tiny"

[backbone]
model = "model"
device = "cpu"
dtype = "float32"

[[gap]]
task = "hypernymy"
validator_shots = "zero"
layers = true
limit = 24

[text]
source = "texts.csv"
max_tokens = 250
held_out_tokens = 120

[[concepts]]
kind = "topk"
size = 24
k = 4
training = { steps = 4, batch = 64 }

[names]
limit = 3
held_out = 3

[[repair]]
kind = "calibrate"
validator_shots = "zero"
limit = 16
positions = 20
allow_low_mass = true

[verdict]
limit = 10
phrasings = false
"""


def make_run(folder: Path) -> Path:
    """A run of a tiny study."""
    tiny_model().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    (folder / "texts.csv").write_text("\n".join(["text", *tiny_texts()]) + "\n")
    (folder / "study.toml").write_text(STUDY.replace('"model"', repr(str(folder / "model"))))
    with mock.patch("accord.gap.figures.write_gap_figures"):  # half of the time, and nobody looks at them
        study.run(folder / "study.toml", out=folder / "run", only=["gap", "names", "verdict"])
    return folder / "run"


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    subject = Subject.of_run(make_run(folder))
    application = server.application

    def watched(subject: Subject):
        gate = application(subject)
        watch, digits = subject.opened, {}

        def opened(lm):
            watch(lm)
            digits.update({digit: lm.tokenizer.convert_tokens_to_ids(digit) for digit in (SLOW, FAILS)})
            backbone_of(lm).model.get_input_embeddings().register_forward_pre_hook(look)

        def look(_, args):
            ids = args[0]
            if bool((ids == digits[SLOW]).any()):
                time.sleep(0.25)
            if bool((ids == digits[FAILS]).any()):
                raise RuntimeError("the card fell off <b>the bus</b>")

        subject.opened = opened
        return gate

    server.application = watched
    server.serve_subject(subject, browser=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
