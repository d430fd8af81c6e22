"""A stage folder that lacks something is one clear error: what, where, and how to mend it."""

from pathlib import Path

import pytest
from tests.report.line_folder import change, drop, put, put_rows, write_concepts

from accord.errors import AccordError
from accord.report.html import write_report


@pytest.mark.parametrize("key", ["r2_hard", "kind", "ce_recovered", "seed"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    drop(write_concepts(tmp_path, "topk", 0), key)
    with pytest.raises(AccordError, match=rf"(?s)lacks a key.*metrics\.json.*wanted: {key}"):
        write_report(tmp_path)


def test_missing_columns_and_broken_files(tmp_path: Path) -> None:
    folder = write_concepts(tmp_path, "topk", 0)
    put_rows(folder / "curve.jsonl", [{"step": 1, "loss": 2}, {"loss": 2}])
    with pytest.raises(AccordError, match=r"(?s)lacks a column.*line 2.*wanted: step"):
        write_report(tmp_path)
    put_rows(folder / "curve.jsonl", [])
    for broken, problem in (({"r2": "much"}, "not a number"), ({"seed": 0.5}, "whole number")):
        change(folder, **broken)
        with pytest.raises(AccordError, match=problem):
            write_report(tmp_path)
        change(folder, r2=0.5, seed=0)
    put(folder / "metrics.json", [])
    with pytest.raises(AccordError, match="must be an object"):
        write_report(tmp_path)
    (folder / "metrics.json").write_text("{")
    with pytest.raises(AccordError, match="not JSON"):
        write_report(tmp_path)
    (folder / "metrics.json").unlink()
    put_rows(tmp_path / "texts" / "backbone-s0" / "texts.jsonl", [{"row": "backbone", "seed": 0, "index": 0}])
    with pytest.raises(AccordError, match="text, tokens, finished"):
        write_report(tmp_path)
