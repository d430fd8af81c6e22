"""Every stage whose parts may be computed by several workers: the same bytes, whoever computed which part."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console
from tests.study.shared_study import STUDY, write_files

import accord.text
from accord import spread
from accord.disk import aside, sha256
from accord.study import engine, plan_study, store
from accord.study.config import load
from accord.study.manifest import read_manifest
from accord.study.stage import Stage
from accord.study.work import Models

KINDS = (
    *("embeddings", "gap", "texts", "perplexity", "steering", "answers", "verdict", "observation", "damage"),
    *("pathway",),
)


@contextmanager
def small_parts() -> Iterator[pytest.MonkeyPatch]:
    """Stages of several parts each, and repairs of models that seldom say yes or no."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("accord.gap.measure._PART", 4)
        patch.setattr("accord.perplexity.stage._PART", 2)
        patch.setattr("accord.damage.free_text._PART", 2)
        patch.setattr("accord.damage.observed._TEXTS", 2)
        patch.setattr(accord.text, "extract", partial(accord.text.extract, shard_tokens=64))
        patch.setattr("accord.repair.label_mass.LEAST", 0.0)
        patch.setattr("accord.gap.figures.write_gap_figures", lambda gap, folder: None)  # it takes longest
        yield patch


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Stage], Models]:
    """A run that one worker made, its stages, and the models that they are made with."""
    folder = tmp_path_factory.mktemp("shared")
    write_files(folder)
    (folder / "study.toml").write_text(STUDY)
    stages = plan_study(load(folder / "study.toml"), fetch=True).stages
    with small_parts():
        engine.run(
            folder / "study.toml",
            folder / "run",
            console=Console(quiet=True),
            only=list(dict.fromkeys(stage.kind for stage in stages)),
        )
    return folder / "run", list(stages), Models()


def files(folder: Path) -> dict[Path, str]:
    return {path: sha256(path) for path in folder.rglob("*") if path.is_file()}


def is_part(path: Path) -> bool:
    """A part, or the note beside it."""
    if path.parent.name == "helpers":  # who made them
        return True
    if path.suffix == ".note" or path.with_name(f"{path.name}.note").exists():
        return True
    return path.name.startswith("shard-") and path.with_suffix(".json").exists()


def test_every_kind_is_tried(alone: tuple[Path, list[Stage], Models]) -> None:
    assert {stage.kind for stage in alone[1] if stage.spreads} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_who_computes_a_part_changes_no_byte(
    kind: str, alone: tuple[Path, list[Stage], Models], tmp_path: Path
) -> None:
    run, stages, models = alone
    stage = next(stage for stage in stages if stage.kind == kind)
    folder = tmp_path / stage.name
    partial_folder = aside(folder, "partial")
    made = {"models": models, "at": lambda other: run / other.name}
    at_work_on, claimed = spread.at_work_on, spread.claimed
    turns: list[Path] = []

    @contextmanager
    def one_part(part: Path, *, wait: bool = True) -> Iterator[None]:
        if turns:
            raise KeyboardInterrupt
        turns.append(part)
        with at_work_on(part, wait=wait):
            yield

    @contextmanager
    def every_second(place: Path, *, wait: bool = False) -> Iterator[bool]:
        turns.append(place)
        with claimed(place, wait=wait) as own:
            yield own and len(turns) % 2 == 0

    def publish() -> bool:
        return store.publish(stage, folder, **made)  # type: ignore[arg-type]

    with small_parts() as patch:  # the owner begins, and is stopped
        patch.setattr("accord.unfinished.at_work_on", one_part)
        patch.setattr("accord.text.embeddings.at_work_on", one_part)
        with pytest.raises(KeyboardInterrupt):
            publish()
    before = files(partial_folder)
    assert len(turns) == 1
    with small_parts() as patch:  # others are at every second part that is left
        patch.setattr(spread, "claimed", every_second)
        assert store.help_make(stage, folder, **made)  # type: ignore[arg-type]
    with small_parts():  # a third worker computes the rest, and then finds nothing
        store.help_make(stage, folder, **made)  # type: ignore[arg-type]
        after = files(partial_folder)
        assert not store.help_make(stage, folder, **made)  # type: ignore[arg-type]
    assert files(partial_folder) == after
    assert after.items() >= before.items() and all(map(is_part, after.keys() - before.keys()))
    with small_parts() as patch:  # the owner puts together what they made
        patch.setattr("accord.unfinished.at_work_on", one_part)  # of embeddings it had not begun the second side
        assert publish()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    same, other = read_manifest(folder), read_manifest(run / stage.name)
    assert same is not None and other is not None and same["files"] == other["files"]
    assert sum(helper["parts"] for helper in same["machine"]["helpers"]) >= 1


def begun(stage: Stage, folder: Path, made: dict[str, object]) -> None:
    """The owner of a stage begins, and is stopped at its first part."""

    def stopped(part: Path, *, wait: bool = True) -> None:
        raise KeyboardInterrupt

    with small_parts() as patch:
        patch.setattr("accord.unfinished.at_work_on", stopped)
        with pytest.raises(KeyboardInterrupt):
            store.publish(stage, folder, **made)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "own"), [("gap", "accord.gap.measure.summarize"), ("steering", "accord.steering.measure.Effects.of")]
)
def test_a_helper_leaves_what_is_made_of_the_parts_to_the_owner(
    kind: str, own: str, alone: tuple[Path, list[Stage], Models], tmp_path: Path
) -> None:
    run, stages, models = alone
    stage = next(stage for stage in stages if stage.kind == kind)
    folder = tmp_path / stage.name
    made = {"models": models, "at": lambda other: run / other.name}
    begun(stage, folder, made)

    def of_the_owner(*_: object, **__: object) -> None:
        raise AssertionError("a helper does what only the owner needs")

    with small_parts() as patch:
        patch.setattr(own, of_the_owner)
        assert store.help_make(stage, folder, **made)  # type: ignore[arg-type]
        assert not store.help_make(stage, folder, **made)  # type: ignore[arg-type]


def test_several_may_judge_the_texts_of_one_row(alone: tuple[Path, list[Stage], Models], tmp_path: Path) -> None:
    run, stages, models = alone
    stage = next(stage for stage in stages if stage.kind == "perplexity")
    made = {"models": models, "at": lambda other: run / other.name}
    begun(stage, tmp_path / stage.name, made)
    with small_parts():
        store.help_make(stage, tmp_path / stage.name, **made)  # type: ignore[arg-type]
    parts = aside(tmp_path / stage.name, "partial") / "parts"
    judged = [f"judged-{first:06}" for first in (0, 2, 4)]
    assert sorted(path.stem for path in parts.glob("*.safetensors")) == [*judged, "own-000000", "own-000002"]
