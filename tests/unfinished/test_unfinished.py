"""Parts of unfinished work: made once, whole or not there, and of one piece of work."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from accord import unfinished
from accord.errors import AccordError
from accord.unfinished import belongs, once

PARTS: dict[str, Any] = {
    "part.json": {"words": ["ja", "née", None], "sum": 2.5, "whole": True},
    "part.parquet": pd.DataFrame({"text": ["ä", None], "value": [1.5, float("nan")], "whole": [True, False]}),
    "part.safetensors": {"states": torch.arange(6.0).reshape(2, 3), "owner": torch.tensor([0, 1])},
}
KINDS = pytest.mark.parametrize("name", PARTS)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
        return True
    if isinstance(one, dict) and any(isinstance(value, torch.Tensor) for value in one.values()):
        return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    return bool(one == other)


@KINDS
def test_a_part_is_made_once(name: str, tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> Any:
        made.append(1)
        return PARTS[name]

    parts = tmp_path / "not" / "there yet"
    first, again = (once(parts, name, make) for _ in range(2))
    assert same(PARTS[name], first) and same(PARTS[name], again) and made == [1]
    assert [path.name for path in parts.iterdir()] == [name]
    assert same(PARTS[name], once(None, name, make)) and made == [1, 1]  # where nothing is kept


@KINDS
@pytest.mark.parametrize("after", ["before", "within", "written"])
def test_killed_while_writing_leaves_no_part(
    name: str, after: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, read = unfinished._KINDS[Path(name).suffix]

    def killed(content: Any, path: Path) -> None:
        if after != "before":
            write(content, path)
        if after == "within":
            path.write_bytes(path.read_bytes()[:-7])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setitem(unfinished._KINDS, Path(name).suffix, (killed, read))
        with pytest.raises(KeyboardInterrupt):
            once(tmp_path, name, lambda: PARTS[name])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / f"{name}.tmp").write_bytes(b"half")  # as a process leaves it that is ended with no chance to clear up
    assert same(PARTS[name], once(tmp_path, name, lambda: PARTS[name]))
    assert [path.name for path in tmp_path.iterdir()] == [name]


@KINDS
def test_work_that_fails_leaves_no_part(name: str, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        once(tmp_path, name, lambda: 1 / 0)
    assert same(PARTS[name], once(tmp_path, name, lambda: PARTS[name]))


def test_a_folder_is_of_one_piece_of_work(tmp_path: Path) -> None:
    parts, work = tmp_path / "parts", {"model": "a", "layers": [1, 2], "where": tmp_path}
    belongs(parts, work)
    once(parts, "part.json", lambda: 1)
    belongs(parts, dict(reversed(work.items())))  # the same, in another order
    with pytest.raises(AccordError, match="parts of other work") as caught:
        belongs(parts, {**work, "model": "b"})
    assert str(parts) in str(caught.value) and once(parts, "part.json", lambda: 2) == 1
    belongs(None, work)


@pytest.mark.parametrize("change", [{"layers": [1]}, {"layers": [2, 1]}, {"more": None}], ids=str)
def test_whatever_fixes_parts_sets_them_apart(change: dict[str, Any], tmp_path: Path) -> None:
    work = {"model": "a", "layers": [1, 2]}
    belongs(tmp_path, work)
    with pytest.raises(AccordError, match="parts of other work"):
        belongs(tmp_path, {**work, **change})
