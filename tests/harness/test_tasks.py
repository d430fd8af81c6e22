"""Its tasks on accord's models, from a file and without a network: the rows are what it reports itself."""

import logging
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from accord.errors import AccordError
from accord.lm import Backbone
from tests.harness.task import CHOICE, DOCUMENTS, ROLLING, WRITTEN, write_task
from tests.tiny import tiny_model, tiny_tokenizer

pytest.importorskip("lm_eval", reason="of lm-evaluation-harness (pip install 'accord[harness]')")

import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from accord.harness import run_tasks
from accord.harness.tasks import SEEDS, check_tasks, task_settings

KINDS = {"choice": CHOICE, "rolling": ROLLING, "written": WRITTEN}


@pytest.fixture(autouse=True)
def data_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "datasets"))


@pytest.fixture(scope="module")
def lm() -> Backbone:
    return Backbone(tiny_model(), tiny_tokenizer())


@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_what_it_reports_of_its_own_model(kind: str, lm: Backbone, tmp_path: Path) -> None:
    path = write_task(tmp_path / "tasks", "birds", KINDS[kind])
    before = random.getstate(), np.random.get_state()[1].sum(), torch.get_rng_state().sum()
    table = run_tasks(lm, [str(path)], limit=10)
    assert before == (random.getstate(), np.random.get_state()[1].sum(), torch.get_rng_state().sum())
    theirs = lm_eval.simple_evaluate(
        HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, device="cpu"),
        tasks=[{**_said(path), "dataset_kwargs": {"data_files": {"test": str(path.parent / "birds.jsonl")}}}],
        task_manager=TaskManager(include_defaults=False),
        limit=10,
        bootstrap_iters=0,
    )["results"]["birds"]
    assert set(table["task"]) == {"birds"} and list(table.columns[:3]) == ["asked", "task", "metric"]
    for metric, rows in table.groupby("metric"):
        assert len(rows) == rows["document"].nunique() == 10 and rows["hash"].nunique() == 10
        reported = theirs[f"{metric},none"]
        assert rows["reported"].iloc[0] == pytest.approx(reported, rel=1e-4)
        values, weights = rows["value"], rows["weight"]
        ways = {
            "mean": values.mean(),
            "weighted_perplexity": np.exp(-values.sum() / weights.sum()),
            "bits_per_byte": -values.sum() / weights.sum() / np.log(2),
        }
        assert ways[rows["aggregation"].iloc[0]] == pytest.approx(reported, rel=1e-4)
    assert set(table["better"]) == ({"lower"} if kind == "rolling" else {"higher"})


def _said(path: Path) -> dict:
    from lm_eval.tasks._yaml_loader import load_yaml

    return load_yaml(path)


def test_finished_tasks_are_not_done_again(
    lm: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = [str(write_task(tmp_path / "tasks", name, rest)) for name, rest in zip("ab", KINDS.values(), strict=False)]
    steps: list[tuple[int, int]] = []
    whole = run_tasks(lm, paths, parts=tmp_path / "parts", progress=lambda *step: steps.append(step))
    assert [done / of for done, of in steps] == sorted(done / of for done, of in steps) and steps[-1][0] == steps[-1][1]
    assert set(whole["asked"]) == {"a", "b"} and len(whole) == DOCUMENTS * 5
    monkeypatch.setattr("lm_eval.evaluator.simple_evaluate", lambda *_, **__: pytest.fail("done again"))
    pd.testing.assert_frame_equal(run_tasks(lm, paths, parts=tmp_path / "parts"), whole)
    assert capfd.readouterr() == ("", "") and logging.getLogger("lm_eval").level != logging.ERROR
    with pytest.raises(AccordError, match="parts of other work"):
        run_tasks(lm, paths, limit=3, parts=tmp_path / "parts")


def test_settings_follow_what_a_task_file_says_and_its_data_and_not_its_place(tmp_path: Path) -> None:
    path = write_task(tmp_path / "one")
    settings = task_settings([str(path)], None)
    assert settings["tasks"][0]["task"] == "birds"
    assert task_settings([str(write_task(tmp_path / "two"))], None) == settings
    seen = [settings]
    for change in ("data", "code", "text"):
        if change == "data":
            (path.parent / "birds.jsonl").write_text(
                '{"question": "x", "choices": ["a", "b"], "right": 0, "text": "y"}'
            )
        elif change == "code":
            (path.parent / "own.py").write_text("def mend(docs):\n    raise SystemExit('planning runs no code')\n")
        else:
            path.write_text(path.read_text() + "process_docs: !function own.mend\n")
        changed = task_settings([str(path)], None)
        assert changed not in seen
        seen.append(changed)


def test_what_is_wrong_with_a_task_is_said(lm: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd.yaml").write_text("group: many\ntask: [a, b]\n")
    (tmp_path / "broken.yaml").write_text("task: [\n")
    lost = write_task(tmp_path / "lost")
    (tmp_path / "lost" / "birds.jsonl").unlink()
    divided = CHOICE.replace("{{question}}", "{{ 1 // (question | length - 30) }}")  # by 0, in the second document
    write_task(tmp_path / "wrong", rest=divided)
    for path, problem in {
        "gone.yaml": "task file cannot be read",
        "odd.yaml": "names one task",
        "broken.yaml": "is no task file",
    }.items():
        with pytest.raises(AccordError, match=problem):
            check_tasks([str(tmp_path / path)])
    with pytest.raises(AccordError, match=r"could not be loaded\n.*birds.yaml"):
        run_tasks(lm, [str(lost)])
    with pytest.raises(AccordError, match="could not be run"):
        run_tasks(lm, [str(tmp_path / "wrong" / "birds.yaml")])
    with pytest.raises(AccordError, match="named twice"):
        check_tasks(["a", "a"])
    monkeypatch.setattr("accord.harness.tasks.checked_once", lambda _, check: check())
    monkeypatch.setattr("accord.harness.tasks._manager", lambda _: type("Its", (), {"all_tasks": ["arc_easy", "piqa"]}))
    with pytest.raises(AccordError, match=r"no task or group of this name\n.*arc_eesy\n.*arc_easy, or others"):
        check_tasks(["piqa", "arc_eesy"])


def test_without_the_library_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.harness.installed.find_spec", lambda name: None)
    with pytest.raises(AccordError, match=r"need the package lm_eval\n.*pip install 'accord\[harness\]'"):
        check_tasks(["arc_easy"])


_DRAWN = """import random

def mend(docs):
    rows = list(range(len(docs)))
    random.shuffle(rows)
    return docs.select(rows)

def mixed(docs):
    def one(doc):
        choices = random.sample(doc["choices"], 3)
        return {**doc, "choices": choices, "right": choices.index(doc["choices"][doc["right"]])}
    return docs.map(one)
"""


@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("way", ["mend", "mixed"])
def test_a_task_that_draws_its_documents_draws_what_it_draws_there(
    way: str, lm: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    for place, seed in (("one", 1), ("two", 2), ("theirs", None)):
        # the library of data sets keeps what was once drawn
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / f"datasets-{place}"))
        path = write_task(tmp_path / place, rest=f"{CHOICE}process_docs: !function own.{way}\n")
        (path.parent / "own.py").write_text(_DRAWN)
        if seed is None:
            samples = lm_eval.simple_evaluate(
                HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, device="cpu"),
                tasks=[{**_said(path), "dataset_kwargs": {"data_files": {"test": str(path.parent / "birds.jsonl")}}}],
                task_manager=TaskManager(include_defaults=False),
                bootstrap_iters=0,
            )["samples"]["birds"]
            drawn.append([sample["doc_hash"] for sample in sorted(samples, key=lambda sample: sample["doc_id"])])
        else:
            random.seed(seed)
            table = run_tasks(lm, [str(path)])
            drawn.append(table.loc[table["metric"] == "acc", "hash"].tolist())
    assert drawn[0] == drawn[1] == drawn[2]


def test_the_seeds_are_its_defaults() -> None:
    from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED

    assert SEEDS == (DEFAULT_RANDOM_SEED, DEFAULT_OTHER_SEED)


def test_checking_a_task_file_runs_no_code_of_it(tmp_path: Path) -> None:
    path = write_task(tmp_path, rest=f"{CHOICE}process_docs: !function own.mend\n")
    (tmp_path / "own.py").write_text("raise SystemExit('checking runs no code')\n")
    check_tasks([str(path)])


def test_two_files_of_one_task_are_refused(tmp_path: Path) -> None:
    paths = [str(write_task(tmp_path / place)) for place in ("one", "two")]
    with pytest.raises(AccordError, match=r"named twice\n.*birds"):
        check_tasks(paths)
