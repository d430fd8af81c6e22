"""A gap folder that lacks something is one clear error: what, where, and how to mend it."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from accord.errors import AccordError
from accord.report.data import gap_folders, plain, read_gap
from accord.report.figures import write_figures
from accord.report.html import write_report

Writer = Callable[..., Path]
Scores = Callable[..., pd.DataFrame]


def test_missing_column_is_named(tmp_path: Path, gap_writer: Writer, gap_scores: Scores) -> None:
    folder = gap_writer(tmp_path / "gap", layers=False)
    gap_scores(20).drop(columns=["validator_logodds", "gold"]).to_parquet(folder / "scores.parquet")
    for write in (write_figures, write_report):
        with pytest.raises(AccordError) as caught:
            write(folder)
        message = str(caught.value)
        assert "scores.parquet" in message
        assert "validator_logodds" in message.split("wanted:")[1]
        assert "gold" in message.split("wanted:")[1]
        assert "fix:" in message


@pytest.mark.parametrize(
    ("name", "column"),
    [("layers", "item"), ("layer_metrics", "low"), ("layer_matrix", "pearson"), ("lens", "top")],
)
def test_missing_column_of_an_optional_table(tmp_path: Path, gap_writer: Writer, name: str, column: str) -> None:
    folder = gap_writer(tmp_path / "gap")
    table = pd.read_parquet(folder / f"{name}.parquet")
    table.drop(columns=column).to_parquet(folder / f"{name}.parquet")
    with pytest.raises(AccordError, match=f"{name}.parquet"):
        read_gap(folder)


def test_layers_of_unknown_items(tmp_path: Path, gap_writer: Writer, gap_scores: Scores) -> None:
    folder = gap_writer(tmp_path / "gap", gap_scores(40))
    gap_scores(20).to_parquet(folder / "scores.parquet")
    with pytest.raises(AccordError, match="not in the scores"):
        read_gap(folder)


def test_missing_and_broken_files(tmp_path: Path, gap_writer: Writer) -> None:
    folder = gap_writer(tmp_path / "gap", layers=False)
    (folder / "metrics.json").write_text("{")
    with pytest.raises(AccordError, match="not JSON"):
        read_gap(folder)
    (folder / "metrics.json").write_text(json.dumps({"pearson_all": {"value": "much"}}))
    with pytest.raises(AccordError, match="not a number"):
        read_gap(folder)
    (folder / "metrics.json").write_text(json.dumps({"pearson_all": 0.1}))
    with pytest.raises(AccordError, match="generator_auc"):
        read_gap(folder)
    (folder / "metrics.json").unlink()
    with pytest.raises(AccordError, match=r"metrics\.json"):
        read_gap(folder)
    (folder / "scores.parquet").write_text("not a table")
    with pytest.raises(AccordError, match="cannot be read"):
        read_gap(folder)
    (folder / "scores.parquet").unlink()
    with pytest.raises(AccordError, match=r"scores\.parquet"):
        read_gap(folder)


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [("gold", "yes", "gold"), ("generator_logodds", "high", "generator_logodds"), ("generator_rank", 0, "from 1")],
)
def test_columns_of_a_wrong_kind(
    tmp_path: Path, gap_writer: Writer, gap_scores: Scores, column: str, value: object, problem: str
) -> None:
    folder = gap_writer(tmp_path / "gap", layers=False)
    gap_scores(20).assign(**{column: value}).to_parquet(folder / "scores.parquet")
    with pytest.raises(AccordError, match=problem):
        read_gap(folder)


def test_no_rows(tmp_path: Path, gap_writer: Writer, gap_scores: Scores) -> None:
    folder = gap_writer(tmp_path / "gap", layers=False)
    gap_scores(20).iloc[:0].to_parquet(folder / "scores.parquet")
    with pytest.raises(AccordError, match="no rows"):
        read_gap(folder)


def test_run_without_a_gap(tmp_path: Path) -> None:
    with pytest.raises(AccordError, match="no measured gap"):
        write_report(tmp_path)
    with pytest.raises(AccordError, match="no such run folder"):
        write_report(tmp_path / "nowhere")


def test_gaps_stand_in_the_order_of_measurement(tmp_path: Path, gap_writer: Writer, gap_scores: Scores) -> None:
    few = gap_scores(20)
    gap_writer(tmp_path / "gap" / "b", few, layers=False, started="2025-01-01")
    gap_writer(tmp_path / "gap" / "a", few, layers=False, started="2025-01-02")
    gap_writer(tmp_path / "gap" / ".c.partial", few, layers=False, started="2025-01-03")
    assert [folder.name for folder in gap_folders(tmp_path)] == ["b", "a"]


def test_undefined_metrics_are_read(tmp_path: Path, gap_writer: Writer) -> None:
    nothing = {"value": None, "low": None, "high": None}
    folder = gap_writer(tmp_path / "gap", layers=False, metrics={"pearson_yes": nothing, "extra": 3})
    gap = read_gap(folder)
    assert not gap.metric("pearson_yes").known
    assert not gap.metric("never heard of").known
    assert gap.metric("extra").value == 3
    assert plain("a\nb \u202ec") == "a b c"
    assert (gap.model, gap.task) == ("smollm2-135m", "hypernymy")
