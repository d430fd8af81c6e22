"""A repair folder that lacks something is one clear error: what, where, and how to mend it; options may be absent."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from tests.report.line_folder import put, put_rows
from tests.report.repair_folder import BASE, MADE, change_measure, change_verdict, read_verdict, write_repairs

from accord.errors import AccordError
from accord.report.html import write_report
from accord.report.repair_data import holds_repairs, read_repairs, read_scores


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = {"readout": MADE["readout"]}
    return write_repairs(tmp_path_factory.mktemp("runs") / "demo", made, trials=["test"], n=40, resamples=10)


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(whole, tmp_path / "demo"))


def test_what_was_written_is_read(run: Path) -> None:
    (one,) = read_repairs(run).seeds
    assert (one.name, one.kind, one.seed, one.base, one.task, one.seconds) == (
        "readout", "readout", 0, BASE, "hypernymy", 9.0,
    )  # fmt: skip
    told = read_verdict(run / "verdict" / "readout-s0")["tests"]["test"]["changes"]
    for measure, change in one.trials["test"].changes.items():
        assert change.after == tuple(told[measure]["after"].values())
    assert one.trials["test"].changes["validator_auc"].closure.known is False
    assert one.damage is not None and len(one.damage.table) == 28 and len(one.damage.generations) == 6
    assert (
        one.pathway is not None
        and one.pathway.sentence == "The repair enters between layers 6 and 8. Random changes carry 3%."
    )
    scores = read_scores(run, one, "test")
    assert scores is not None and len(scores[0]) == len(scores[1]) == 40
    assert read_scores(run, one, "test-unseen-both") is None


@pytest.mark.parametrize("key", ["tests", "repair", "seed", "base"])
def test_a_missing_key_of_a_verdict_is_named(run: Path, key: str) -> None:
    folder = run / "verdict" / "readout-s0"
    raw = read_verdict(folder)
    del raw[key]
    put(folder / "verdict.json", raw)
    with pytest.raises(AccordError, match=rf"(?s)lacks a key.*verdict\.json.*wanted: {key}"):
        write_report(run)


def test_broken_verdicts(run: Path) -> None:
    folder = run / "verdict" / "readout-s0"
    good = read_verdict(folder)
    for changed, problem in (
        ({"seed": 0.5}, "`seed` must be a whole number"),
        ({"base": "../elsewhere"}, "must name a folder under verdict/"),
        ({"tests": {}}, "A verdict must be on test sets"),
        ({"tests": {"test": []}}, "must be an object"),
        ({"tests": {"test": {"n": 3}}}, "wanted: changes"),
        ({"tests": {"test": {"n": 3, "changes": {}}}}, r"lacks measures"),
        ({"seconds": "long"}, "not a number"),
    ):
        change_verdict(folder, **changed)
        with pytest.raises(AccordError, match=problem):
            read_repairs(run)
        put(folder / "verdict.json", good)
    change_measure(folder, "test", "pearson_all", after=("high", 0.1, 0.2))
    with pytest.raises(AccordError, match=r"(?s)not a number.*pearson_all, after\.value"):
        read_repairs(run)


def test_broken_tables(run: Path) -> None:
    path = run / "damage" / "readout-s0" / "damage.parquet"
    table = pd.read_parquet(path)
    table.drop(columns="worsened").to_parquet(path)
    with pytest.raises(AccordError, match=r"(?s)lacks a column.*damage\.parquet.*wanted: worsened"):
        read_repairs(run)
    table.assign(change="more").to_parquet(path)
    with pytest.raises(AccordError, match="`change` must hold numbers"):
        read_repairs(run)
    path.write_bytes(b"nothing")
    with pytest.raises(AccordError, match="cannot be read"):
        read_repairs(run)
    table.to_parquet(path)
    cka = run / "pathway" / "readout-s0" / "cka.parquet"
    pd.DataFrame({"form": ["validator"]}).to_parquet(cka)
    with pytest.raises(AccordError, match=r"(?s)lacks columns.*cka\.parquet.*layer, value, low, high"):
        read_repairs(run)


def test_scores_of_other_items_are_refused(run: Path) -> None:
    path = run / "verdict" / "readout-s0" / "test.parquet"
    scores = pd.read_parquet(path)
    scores.iloc[::-1].to_parquet(path, index=False)
    with pytest.raises(AccordError, match="not of the same items"):
        write_report(run)


def test_texts_a_row_a_model_are_paired(run: Path) -> None:
    path = run / "damage" / "readout-s0" / "generations.jsonl"
    rows = [
        {"prompt": p, "model": m, "text": f"{m} {p} {k}"} for p in "ab" for k in (0, 1) for m in ("repaired", "base")
    ]
    put_rows(path, rows)
    (one,) = read_repairs(run).seeds
    assert one.damage is not None
    found = [tuple(row) for row in one.damage.generations.itertuples(index=False)]
    assert found == [(p, f"base {p} {k}", f"repaired {p} {k}") for p in "ab" for k in (0, 1)]
    put_rows(path, [{"prompt": "a", "words": "b"}])
    with pytest.raises(AccordError, match="base, repaired"):
        read_repairs(run)


def test_what_is_not_whole_is_not_there(run: Path) -> None:
    (run / "repair" / "dpo-s0").mkdir()
    (run / "verdict" / ".dpo-s1.partial").mkdir()
    (run / "damage" / "readout-s0").rename(run / "elsewhere")
    found = read_repairs(run)
    assert found.left_out == ["dpo-s0"]
    assert found.seeds[0].damage is None
    shutil.rmtree(run / "pathway")
    assert read_repairs(run).seeds[0].pathway is None
    assert holds_repairs(run)
    shutil.rmtree(run / "repair")
    shutil.rmtree(run / "verdict" / "readout-s0")
    assert not holds_repairs(run)  # the base's scores are no repair


def test_only_the_last_position_of_patching_is_shown(run: Path) -> None:
    path = run / "pathway" / "readout-s0" / "patching.parquet"
    table = pd.read_parquet(path)
    pd.concat([table, table.assign(positions="all", value=9.0)]).to_parquet(path)
    (one,) = read_repairs(run).seeds
    assert one.pathway is not None
    assert len(one.pathway.tables["patching"]) == len(table)
