"""Other tasks that a repair learns from: found, checked, and never what it is judged on."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.tiny import tiny_hub_folder, tiny_texts

import accord
from accord.damage.config import DamageSection
from accord.damage.stage import other_tasks
from accord.errors import AccordError
from accord.relations import relation_tasks
from accord.repair import repair
from accord.repair.config import ReadoutConfig
from accord.repair.kept import kept_tasks
from accord.repair.learned import all_marks, links, marks
from accord.repair.result import RepairRecord
from accord.repair.stage import learned_for, repairs
from accord.study import load as load_study
from accord.study import plan_study
from accord.study.plan import Plan
from accord.tasks import Task, task

TASK = """
data = "capitals.csv"
generator = "The capital of {country} is "
validator = "Is {city} the capital of {country}? Answer:"
answer = "city"
gold = "right"
"""
TEXTS = [f"the {word} was no good, yes it was not" for word in ("film", "plot", "cast", "score")]
MINE = "country,city,right\n" + "".join(f"land{i},city{i},yes\nland{i},city{i + 1},no\n" for i in range(40))


def write(folder: Path, rows: str) -> str:
    (folder / "capitals.csv").write_text(rows)
    (folder / "mine.toml").write_text(TASK)
    return str(folder / "mine.toml")


def test_relations_are_those_that_nothing_is_judged_on() -> None:
    kept = kept_tasks(["relations"])
    assert kept == relation_tasks("learned") and len({task.items[0].group for task in kept}) == 14
    judged = relation_tasks("judged")
    assert not {mark for task in kept for mark in marks(task)} & {mark for task in judged for mark in marks(task)}


def test_a_task_of_ones_own_is_kept_unless_it_has_what_is_judged_on(tmp_path: Path) -> None:
    (mine,) = kept_tasks([write(tmp_path, MINE)])
    assert mine.split == "train" and len(mine.items) < 80
    with pytest.raises(AccordError, match=r"judged on(.|\n)*mine(.|\n)*got: +1 of 3") as caught:
        kept_tasks([write(tmp_path, "country,city,right\nfrance,PARIS,yes\nFrance,Lyon,no\nItaly,Turin,no\nx,y,yes\n")])
    assert 'keep = ["relations"]' in str(caught.value)


def test_wrong_names_are_told(tmp_path: Path) -> None:
    for names, message in ((["relation"], "Unknown task"), (["relations", "relations"], "a task twice")):
        with pytest.raises(AccordError, match=message):
            kept_tasks(names)


def test_what_was_kept_counts_as_learned(tmp_path: Path) -> None:
    tiny_hub_folder(tmp_path / "base")
    lm, train, kept = accord.load(tmp_path / "base"), task("hypernymy", split="train", limit=24), few_tasks()
    config = ReadoutConfig(keep=["relations"], layers=[2], positions=60, budget=2.0)
    repair(lm, train, config, folder=tmp_path / "repaired", texts=TEXTS, kept=kept)
    learned = all_marks(links(tmp_path / "repaired"))
    assert learned == marks(train).union(*(marks(task) for task in kept)) > marks(train)
    assert RepairRecord.read(tmp_path / "repaired").about["kept"] == ["plural-1", "comparative-1"]


def few_tasks() -> tuple[Task, ...]:
    """Of two relations, one wording each, some facts."""
    return tuple(replace(task, items=task.items[:24]) for task in relation_tasks("learned")[:6:3])


def test_a_study_leaves_what_was_kept_out_of_every_test(tmp_path: Path) -> None:
    tiny_hub_folder(tmp_path / "model")
    (tmp_path / "texts.txt").write_text("\n".join(tiny_texts()))
    write(tmp_path, MINE)
    text = (
        'name = "s"\n[backbone]\nmodel = "model"\ndevice = "cpu"\n[text]\nsource = "texts.txt"\n'
        '[[repair]]\nkind = "readout"\nlimit = 24\nKEEP[damage]\ntasks = ["mine.toml"]\nsamples = 0\n'
    )
    recipes, asked = [], []
    for keep in ("", 'keep = ["relations"]\n', 'keep = ["mine.toml"]\n'):
        (tmp_path / "study.toml").write_text(text.replace("KEEP", keep))
        plan = Plan(load_study(tmp_path / "study.toml"), fetch=True)
        (node,) = repairs(plan)
        recipes.append(node.stage.recipe.fingerprint)
        learned = learned_for(plan, node.section.folder)
        (mine,) = other_tasks(DamageSection(tasks=[str(tmp_path / "mine.toml")]), learned, 0)
        asked.append(len(mine.items))
    assert len(set(recipes)) == 3
    assert asked[0] == asked[1] == 80 and 0 < asked[2] < 40
    (tmp_path / "study.toml").write_text(text.replace("KEEP", 'keep = ["relation"]\n'))
    with pytest.raises(AccordError, match=r"Unknown task(.|\n)*relation"):
        plan_study(load_study(tmp_path / "study.toml"))
