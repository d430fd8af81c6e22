"""The commands that judge a repair ask as it did, and never what it learned from."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import accord
from accord import cli
from accord.errors import AccordError
from accord.repair import merge, read_repair, repair, save_edits
from accord.repair.learned import all_marks, links, marks, marks_as_text, unlearned
from accord.repair.question import asked_as, check_goes_on, split_seed
from accord.tasks import CustomTask, Task


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
    code, printed, err = run(
        "verdict", "--no-phrasings", "--repaired", folder, "--task", "hypernymy", "--limit", 8, "--device", "cpu"
    )
    assert code == 0, err
    lines = [line for line in printed.splitlines() if "pearson_all" in line]
    assert [line.split("  ")[0].strip() for line in lines] == ["test items", "unseen categories", "unseen words"]
    code, _, err = run("verdict", "--no-phrasings", "--repaired", folder, "--task", "hypernymy", "--seed", 0)
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


def copy_of_hypernymy(folder: Path) -> Path:
    """The built-in pairs in another order: other data by its hash, divided otherwise by any seed."""
    items = accord.task("hypernymy", split="all").items
    lines = [
        "\t".join((item.fields["noun1"], item.answer, "yes" if item.gold else "no", str(item.similarity)))
        for item in items
    ]
    (folder / "copy.tsv").write_text("\n".join(lines))
    return folder / "copy.tsv"


def test_what_was_learned_from_other_data_is_left_out_or_refused(base: Path, tmp_path: Path) -> None:
    copy = copy_of_hypernymy(tmp_path)
    folder = tmp_path / "out"
    learned = accord.task("hypernymy", data=copy, split="train", split_kind="nested")
    save_edits([], folder, base=str(base), about={"task": learned.settings, "learned": marks_as_text(marks(learned))})
    test = accord.task("hypernymy", split="test", split_kind="nested")
    ids = {(item.fields["noun1"], item.answer) for item in learned.items}
    shared = [item for item in test.items if (item.fields["noun1"], item.answer) in ids]
    assert shared  # else this test says nothing

    make = partial(accord.task, "hypernymy", split_kind="nested")
    unseen = unlearned(make, all_marks(links(folder)), split="test", limit=20)
    assert len(unseen.items) == 20 == unseen.settings["items"] and unseen.settings["left_out"] == len(shared)
    assert not {(item.fields["noun1"], item.answer) for item in unseen.items} & ids
    whole = unlearned(make, all_marks(links(folder)), split="test")
    assert list(whole.items) == [item for item in test.items if item not in shared]
    assert unlearned(make, frozenset({"elsewhere"}), split="test", limit=9) == make(split="test", limit=9)
    with pytest.raises(AccordError, match="learned from items of a test of unseen words"):
        unlearned(make, marks(training(seed=4, limit=None)), split="test-unseen-both", limit=5)
    with pytest.raises(AccordError, match="no items are left"):
        unlearned(make, marks(accord.task("hypernymy", split="all")), split="test")

    code, printed, err = run("verdict", "--no-phrasings", "--repaired", folder, "--task", "hypernymy", "--limit", 8)
    assert code == 0 and f"test items without {len(shared)} items learned from" in printed, err
    (tmp_path / "texts.txt").write_text("\n".join(f"{i} birds are food of a kind" for i in range(20)))
    words = ["damage", "--repaired", folder, "--task", "hypernymy", "--items", 8, "--texts", tmp_path / "texts.txt"]
    words += ["--facts", 0, "--samples", 0, "--limit", 2]
    code, _, err = run(*words)
    assert code == 0 and f"hypernymy, test: without {len(shared)} items learned from" in err


def test_marks_know_an_item_in_other_columns_but_not_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("id,thing,of,right\n7,Robins,bird,yes\n8,robins,fish,no\n")
    own = CustomTask(
        name="own",
        data=tmp_path / "own.csv",
        generator="{Thing} are",
        validator="{of}: {thing}?",
        answer="of",
        gold="right",
    )
    (tmp_path / "pairs.tsv").write_text("robins\tbird\tyes\thigh\nrobins\ttool\tno\tlow\n")
    pairs = accord.task("hypernymy", data=tmp_path / "pairs.tsv", split="all")
    assert len(marks(accord.task(own, split="all")) & marks(pairs)) == 1
    assert len(marks(pairs)) == 2


def test_a_chain_is_told_through_merged_weights(base: Path, tmp_path: Path) -> None:
    """Adapter, merged, adapter, merged: both trainings are known at the end, wherever the first folders went."""
    model = base
    for i, seed in enumerate((5, 6)):
        learned = training(seed=seed)
        config = read_repair({"kind": "sft", "steps": 1, "batch": 2, "r": 2})
        repair(accord.load(model), learned, config, folder=tmp_path / f"r{i}", base=str(model))
        merge(tmp_path / f"r{i}", tmp_path / f"m{i}")
        model = tmp_path / f"m{i}"
    for folder in (tmp_path / "r1", tmp_path / "m1"):
        chain = links(folder)
        assert [link.task["seed"] for link in chain] == [6, 5]
        assert [link.marks for link in chain] == [marks(training(seed=6)), marks(training(seed=5))]
    for name in ("r0", "m0", "r1"):
        shutil.rmtree(tmp_path / name)
    assert [link.task["seed"] for link in links(tmp_path / "m1")] == [6, 5]
    with pytest.raises(AccordError, match="goes on from learned from other items"):
        asked_as(tmp_path / "m1", accord.task("hypernymy", split="all"))


def test_merged_weights_of_before_name_their_base(base: Path, tmp_path: Path) -> None:
    first = repaired(base, tmp_path / "first", training(seed=1))
    merged = tmp_path / "merged"
    merged.mkdir()
    (merged / "merge.json").write_text(json.dumps({"task": training(seed=0).settings, "from": str(first)}))
    with pytest.raises(AccordError, match="goes on from learned from other items"):
        asked_as(merged, accord.task("hypernymy", split="all"))


def test_a_repair_that_nothing_could_judge_is_refused_before_it_is_made(base: Path, tmp_path: Path) -> None:
    first = repaired(base, tmp_path / "first", training(seed=1))
    words = ["repair", "--model", first, "--task", "hypernymy", "--method", "calibrate", "--out", tmp_path / "second"]
    for wrong in ([], ["--seed", 1, "--split-kind", "random"], ["--seed", 1, "--split", "all"]):
        code, _, err = run(*words, *wrong)
        assert code == 1 and "learned from other items" in err and not (tmp_path / "second").exists()
    check_goes_on(first, training(seed=1, generator_shots="zero"))
    check_goes_on("smollm2-135m", training())


@pytest.mark.parametrize("kind", ["random", "unseen-both"])
def test_a_repair_of_another_split_is_judged_on_it(kind: str, base: Path, tmp_path: Path) -> None:
    folder = repaired(base, tmp_path / "out", training(split_kind=kind, limit=None))
    code, printed, err = run(
        "verdict", "--no-phrasings", "--repaired", folder, "--task", "hypernymy", "--limit", 8, "--out", tmp_path / "v"
    )
    assert code == 0, err
    settings = json.loads((tmp_path / "v" / "manifest.json").read_text())["settings"]
    assert [(keys["split"], keys["split_kind"], keys["seed"]) for keys in settings["trials"].values()] == [
        ("test", kind, 3)
    ]
    assert ("unseen words" in printed) == (kind == "unseen-both")
    words = ["pathway", "--repaired", folder, "--task", "hypernymy", "--limit", 8, "--train-limit", 16]
    code, _, err = run(*words, "--patch-items", 2, "--draws", 0, "--out", tmp_path / "p")
    assert code == 0, err
    items = json.loads((tmp_path / "p" / "manifest.json").read_text())["settings"]["questions"]
    assert [items["train"]["split_kind"], *(keys["split_kind"] for keys in items["tests"].values())] == [kind, kind]
