"""A repair of a model that seldom answers with the label words is refused before any work, unless it is asked for."""

from pathlib import Path

import pytest
from tests.tiny import tiny_model, tiny_tokenizer
from typer.testing import CliRunner

from accord import cli, repair
from accord.errors import AccordError
from accord.lm import Backbone
from accord.repair.config import read_repair
from accord.repair.surgery import operate
from accord.tasks import Task


@pytest.fixture(autouse=True)
def _refused(monkeypatch: pytest.MonkeyPatch, seldom_answers: None) -> None:
    monkeypatch.setattr("accord.repair.label_mass.LEAST", 0.1)


def lm() -> Backbone:
    return Backbone(tiny_model(), tiny_tokenizer())


@pytest.mark.parametrize("kind", ["rankalign", "consistency", "dpo"])
def test_training_on_noise_is_refused_before_it_begins(kind: str, words_task: Task, tmp_path: Path) -> None:
    with pytest.raises(AccordError) as refused:
        repair.train(lm(), words_task, {"kind": kind}, folder=tmp_path / "out")
    message = str(refused.value)
    assert "% of the probability" in message and "36 training items" in message and "allow_low_mass" in message
    assert "accord show" in message and not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["readout", "calibrate", "direction"])
def test_kinds_without_training_too(kind: str, words_task: Task) -> None:
    with pytest.raises(AccordError, match="seldom answers"):
        operate(lm(), words_task, read_repair({"kind": kind}), texts=["never read"])


def test_it_is_done_where_allowed_and_where_gold_labels_teach(base: Path, words_task: Task, tmp_path: Path) -> None:
    short = {"steps": 1, "batch": 4}
    for name, table in (("told", {"kind": "rankalign", "allow_low_mass": True}), ("gold", {"kind": "sft"})):
        assert repair.train(str(base), words_task, {**table, **short}, folder=tmp_path / name) == tmp_path / name


def test_the_command_says_it_in_one_error(base: Path, tmp_path: Path) -> None:
    words = ["repair", "--model", base, "--task", "hypernymy", "--method", "rankalign", "--limit", 8, "--steps", 1]
    done = CliRunner().invoke(cli.app, [str(word) for word in [*words, "--out", tmp_path / "out"]])
    assert done.exit_code == 1 and "--set allow_low_mass=true" in done.stderr
    assert not (tmp_path / "out").exists()
