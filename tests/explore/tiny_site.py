"""The explorer of a tiny run, served for tests in a process of its own; digits in a prompt make it slow or fail.

python -m tests.explore.tiny_site FOLDER        prints the address, and serves until it is killed
python -m tests.explore.tiny_site FOLDER ITEMS  so many items of a gap alone, without a model
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
from tests.report.conftest import make_scores, write_gap
from tests.study.shared_study import STUDY, write_files

SLOW, FAILS = "7", "9"  # in a prompt: each forward pass takes a while, or fails


def make_run(folder: Path) -> Path:
    """A run of a tiny study."""
    write_files(folder)
    (folder / "study.toml").write_text(STUDY.replace('"model"', repr(str(folder / "model"))))
    with mock.patch("accord.gap.figures.write_gap_figures"):  # half of the time, and nobody looks at them
        study.run(folder / "study.toml", out=folder / "run", only=["gap", "names", "verdict"])
    return folder / "run"


def main(folder: Path, items: int = 0) -> None:
    torch.set_num_threads(1)
    run = write_gap(folder / "gap", make_scores(items, categories=60), layers=False) if items else make_run(folder)
    subject = Subject.of_run(run)
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
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
