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
from accord.repair.learned import marks
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
    assert [test.title for test in tests[:3]] == ["test items", "unseen categories", "unseen words"]
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


@pytest.mark.parametrize(
    ("split_kind", "title"),
    [("random", "test items"), ("unseen-hypernyms", "unseen categories"), ("unseen-both", "unseen words")],
)
def test_each_trial_is_asked_for_by_the_keys_of_its_kind(split_kind: str, title: str) -> None:
    asked: list[dict[str, object]] = []

    def noted(**keys: object) -> accord.Task:
        asked.append(keys)
        return made

    made, other = make(limit=4), make(limit=6)
    phrasings = {"generator": ["plain", "short"], "validator": ["true"]}
    keys = {"phrasings": phrasings, "limit": 9, "phrasing_limit": 5, "others": {"x": other}}
    trials = trials_of(noted, split_kind=split_kind, **keys)  # type: ignore[arg-type]
    of_all = {"split_kind": split_kind, "split": "test"}
    assert asked == [
        {**of_all, "limit": 9},
        {**of_all, "limit": 5, "generator_phrasing": "plain"},
        {**of_all, "limit": 5, "generator_phrasing": "short"},
        {**of_all, "limit": 5, "validator_phrasing": "true"},
    ]
    assert {trial.name: trial.title for trial in trials} == {
        "test": title,
        "generator-plain": "generator worded “plain”",
        "generator-short": "generator worded “short”",
        "validator-true": "validator worded “true”",
        "task-x": "task x",
    }
    assert [trial.task for trial in trials] == [made] * 4 + [other]


def test_titles_say_what_was_left_out() -> None:
    learned = marks(make(split="test", limit=5))
    both = {"split_kind": "random", "phrasings": {"generator": ["plain"]}, "learned": learned}
    trials = trials_of(make, limit=12, phrasing_limit=3, **both)  # type: ignore[arg-type]
    assert [trial.title for trial in trials] == [
        "test items without 5 items learned from",
        "generator worded “plain” without 5 items learned from",
    ]
    assert [len(trial.task.items) for trial in trials] == [12, 3]


def test_finished_parts_are_kept_by_trial_and_progress_is_of_all(lm: Backbone, tmp_path: Path) -> None:
    trials = [Trial("one", "", make(limit=3)), Trial("two", "", make(limit=2))]
    told: list[tuple[int, int]] = []
    scored = score_trials(lm, trials, parts=tmp_path, progress=lambda *of: told.append(of))
    assert told == sorted(told) and told[-1] == (5, 5) and {total for _, total in told} == {5}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    about = judge(scored, scored, trials, about={"seed": 3})
    assert about.about == {"seed": 3} and about.n == {"one": 3, "two": 2}
    for trial, table in scored.items():  # with the base's typicality beside its own
        after = about.after[trial]
        pd.testing.assert_frame_equal(after.drop(columns="base_typicality"), table)
        assert after["base_typicality"].equals(table["typicality"])
    assert judge(scored, scored, trials[:1]).about == {}
    assert {len(table) for table in scored.values()} == {3, 2} == {len(t.task.items) for t in trials}
