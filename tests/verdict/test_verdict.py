"""Test sets of a repair, and the verdict on a repair whose effect is known."""

import json
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from tests.tiny import tiny_model, tiny_tokenizer, yes_no

import accord
from accord.gap import summarize
from accord.lm import Backbone
from accord.lm.edited import Readout, WithReadout
from accord.verdict.measure import Trial, judge, score_trials, trials_of
from accord.verdict.result import Answers

make = partial(accord.task, "hypernymy", validator_shots="zero")


@pytest.fixture(scope="module")
def lm() -> Backbone:
    return Backbone(tiny_model("llama"), tiny_tokenizer())


@pytest.fixture(scope="module")
def tests() -> list[Trial]:
    phrasings = {"generator": ["plain"], "validator": ["true"]}
    return trials_of(make, split_kind="nested", phrasings=phrasings, limit=8, phrasing_limit=6)


def test_trials_share_nothing_with_training_but_what_they_say(tests: list[Trial]) -> None:
    assert [test.name for test in tests] == [
        "test",
        "test-unseen-hypernyms",
        "test-unseen-both",
        "generator-plain",
        "validator-true",
    ]
    assert [len(test.task.items) for test in tests] == [8, 8, 8, 6, 6]
    train = make(split="train", split_kind="nested")
    for field, strange in (("noun2", tests[1]), ("noun2", tests[2]), ("noun1", tests[2])):
        assert not {i.fields[field] for i in train.items} & {i.fields[field] for i in strange.task.items}
    assert tests[3].task.generator.phrasing == "plain" and tests[3].task.validator.phrasing == "think"
    assert tests[4].task.validator.phrasing == "true" and tests[4].task.generator.phrasing == "complete"


def test_a_constant_shift_moves_accuracy_and_no_correlation(lm: Backbone, tests: list[Trial], tmp_path: Path) -> None:

    shifted = WithReadout(lm, Readout((lm.n_layers,), torch.zeros(lm.d_model), 2.5, *yes_no(lm.tokenizer)))
    reports: list[tuple[int, int]] = []
    before = score_trials(lm, tests, progress=lambda done, total: reports.append((done, total)))
    after = score_trials(shifted, tests, parts=tmp_path / "parts")
    assert reports[-1] == (36, 36) and sorted(reports) == reports
    verdict = judge(before, after, tests)
    for test, measure, change in verdict.rows():
        assert change.after["value"] == pytest.approx(
            summarize(after[test], seed=0, resamples=0)[measure]["value"], nan_ok=True
        )
        if measure.startswith("pearson") and change.change["value"] is not None:
            assert change.change["value"] == pytest.approx(
                0, abs=0.05
            )  # yes and no are a share of what it may say, too
    difference = after["test"]["validator_logodds"] - before["test"]["validator_logodds"]
    assert difference.to_numpy() == pytest.approx(2.5, abs=1e-3)

    verdict.write(tmp_path / "verdict")
    written = json.loads((tmp_path / "verdict" / "verdict.json").read_text())["tests"]
    assert list(written) == [test.name for test in tests]
    assert written["test"]["n"] == 8
    assert set(written["test"]["changes"]["pearson_all"]) == {"before", "after", "change", "closure"}
    Answers(before).write(tmp_path / "answers")
    answers = Answers.read(tmp_path / "answers").scores
    assert set(answers) == set(before)
    for name, table in answers.items():
        pd.testing.assert_frame_equal(table, before[name], check_dtype=False)
