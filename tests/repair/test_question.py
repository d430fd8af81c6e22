"""The commands that judge a repair ask as it did, and never what it learned from."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import accord
from accord import cli
from accord.errors import AccordError
from accord.repair import save_edits
from accord.repair.question import asked_as, split_seed
from accord.tasks import Task


def run(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, [str(word) for word in words])
    return result.exit_code, result.stdout, result.stderr


def training(**keys: Any) -> Task:
    usual = {"split": "train", "split_kind": "nested", "seed": 3, "generator_shots": "few", "limit": 30}
    return accord.task("hypernymy", **{**usual, **keys})


def repaired(base: Path, folder: Path, task: Task) -> Path:
    save_edits([], folder, base=str(base), about={"task": task.settings})
    return folder


def test_a_repair_is_judged_on_its_own_question(base: Path, tmp_path: Path) -> None:
    learned = training(validator_phrasing="true", limit=None)
    folder = repaired(base, tmp_path / "out", learned)
    keys = asked_as(folder, accord.task("hypernymy", split="all"))
    assert accord.task("hypernymy", split="train", **keys).items == learned.items
    assert accord.task("hypernymy", **keys).prompts(learned.items[0]) == learned.prompts(learned.items[0])
    assert split_seed(folder) == 3 and split_seed(base) == 0
    other = accord.task("hypernymy", split="all")
    assert asked_as(base, other) == {"seed": 0, "split_kind": "nested"}


@pytest.mark.parametrize(
    ("how", "keys", "said"),
    [
        ({}, {"seed": 0}, "learned from items that would be tested"),
        ({}, {"split_kind": "random"}, "learned from items that would be tested"),
        ({"split_kind": "random"}, {"split_kind": "nested"}, "--split-kind nested"),
        ({"split": "all"}, {}, "no items are left"),
    ],
)
def test_nothing_is_judged_on_what_it_learned_from(
    how: dict[str, Any], keys: dict[str, Any], said: str, base: Path, tmp_path: Path
) -> None:
    folder = repaired(base, tmp_path / "out", training(**how))
    with pytest.raises(AccordError, match=said):
        asked_as(folder, accord.task("hypernymy", split="all"), **keys)


def test_verdict_and_damage_take_the_repairs_question(base: Path, tmp_path: Path) -> None:
    learned = training(limit=None)
    folder = repaired(base, tmp_path / "out", learned)
    code, said, err = run("verdict", "--repaired", folder, "--task", "hypernymy", "--limit", 8, "--device", "cpu")
    assert code == 0, err
    lines = [line for line in said.splitlines() if "pearson_all" in line]
    assert [line.split("  ")[0].strip() for line in lines] == ["test items", "unseen categories", "unseen words"]
    code, _, err = run("verdict", "--repaired", folder, "--task", "hypernymy", "--seed", 0)
    assert code == 1 and "3, as the repair had it" in err
    (tmp_path / "texts.txt").write_text("\n".join(f"{i} birds are food of a kind" for i in range(20)))
    words = ["damage", "--repaired", folder, "--task", "hypernymy", "--items", 8, "--texts", tmp_path / "texts.txt"]
    code, _, err = run(*words, "--facts", 0, "--samples", 0, "--limit", 2, "--out", tmp_path / "cost")
    assert code == 0, err
    own = json.loads((tmp_path / "cost" / "manifest.json").read_text())["settings"]["own"]
    assert (own["seed"], own["split_kind"], own["generator"]["shots"]) == (3, "nested", "few")
    code, _, err = run(*words, "--split-kind", "random")
    assert code == 1 and "learned from items" in err


def test_a_folder_that_names_no_base_is_refused(base: Path) -> None:
    for command in ("verdict", "damage"):
        code, _, err = run(command, "--repaired", base, "--task", "hypernymy")
        assert code == 1 and "--base MODEL" in err


def test_what_a_chain_or_merged_weights_learned_from_is_not_tested_either(base: Path, tmp_path: Path) -> None:
    usual = accord.task("hypernymy", split="all")
    first = repaired(base, tmp_path / "first", training(seed=1))
    second = repaired(first, tmp_path / "second", training(seed=0))
    with pytest.raises(AccordError, match="goes on from learned from other items"):
        asked_as(second, usual)
    assert asked_as(repaired(first, tmp_path / "third", training(seed=1)), usual)["seed"] == 1
    merged = tmp_path / "merged"
    merged.mkdir()
    (merged / "merge.json").write_text(json.dumps({"task": training(seed=5).settings}))
    assert asked_as(merged, usual)["seed"] == 5
