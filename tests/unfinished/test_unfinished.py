"""Parts of unfinished work: made once, whole or not there, and of one piece of work."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from accord import unfinished
from accord.errors import AccordError
from accord.unfinished import belongs, discard, is_intact, kept, once

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


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def flipped(content: bytes, at: float) -> bytes:
    place = min(int(at * len(content)), len(content) - 1)
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@KINDS
def test_a_part_is_made_once(name: str, tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> Any:
        made.append(1)
        return PARTS[name]

    parts = tmp_path / "not" / "there yet"
    first, again = (once(parts, name, make) for _ in range(2))
    assert same(PARTS[name], first) and same(PARTS[name], again) and made == [1]
    assert names(parts) == [name, f"{name}.note"]
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
    assert names(tmp_path) == [name, f"{name}.note"]


@KINDS
def test_work_that_fails_leaves_no_part(name: str, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        once(tmp_path, name, lambda: 1 / 0)
    assert same(PARTS[name], once(tmp_path, name, lambda: PARTS[name]))


@KINDS
@pytest.mark.parametrize("at", [0.0, 0.2, 0.5, 0.8, 1.0, None], ids=str)
@pytest.mark.parametrize("which", ["part", "note"])
def test_a_damaged_part_is_made_again_with_a_word(
    name: str, at: float | None, which: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    once(tmp_path, name, lambda: PARTS[name])
    damaged = tmp_path / (name if which == "part" else f"{name}.note")
    content = damaged.read_bytes()
    damaged.write_bytes(b"" if at is None else flipped(content, at))
    made: list[int] = []

    def make() -> Any:
        made.append(1)
        return PARTS[name]

    assert same(PARTS[name], once(tmp_path, name, make)) and made == [1]
    assert str(tmp_path / name) in caplog.text and "made again" in caplog.text
    caplog.clear()
    assert same(PARTS[name], once(tmp_path, name, make)) and made == [1] and caplog.text == ""


@KINDS
def test_a_part_of_an_earlier_version_has_no_note_and_counts(name: str, tmp_path: Path) -> None:
    once(tmp_path, name, lambda: PARTS[name])
    (tmp_path / f"{name}.note").unlink()
    assert same(PARTS[name], once(tmp_path, name, lambda: 1 / 0))
    (tmp_path / name).write_bytes(b"")  # but not if nothing can read it
    assert same(PARTS[name], once(tmp_path, name, lambda: PARTS[name]))


def test_what_a_sound_part_cannot_be_read_for_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once(tmp_path, "part.json", lambda: 1)

    def full(path: Path) -> None:
        raise MemoryError

    monkeypatch.setitem(unfinished._KINDS, ".json", (unfinished._write_json, full))
    with pytest.raises(MemoryError):
        once(tmp_path, "part.json", lambda: 2)
    assert names(tmp_path) == ["part.json", "part.json.note"]


def test_a_folder_is_a_part_as_well(tmp_path: Path) -> None:
    part = tmp_path / "part"
    for _ in range(2):
        with kept(part, folder=True) as beside:
            (beside / "a").write_text("a")
            (beside / "below").mkdir()
            (beside / "below" / "b").write_text("b")
        assert is_intact(part) and names(tmp_path) == ["part", "part.note"]
    (part / "below" / "b").rename(part / "below" / "c")
    assert not is_intact(part)
    (part / "below" / "c").rename(part / "below" / "b")
    assert is_intact(part)
    (part / "more").touch()
    assert not is_intact(part)
    discard(part)
    assert names(tmp_path) == []


def test_a_folder_that_nothing_tells_the_owner_of_is_begun_anew(tmp_path: Path) -> None:
    belongs(tmp_path, {"model": "a"})
    once(tmp_path / "own", "part.json", lambda: 1)
    (tmp_path / "mine.txt").write_text("not a part")
    owner = tmp_path / "made-for.json"
    owner.write_bytes(flipped(owner.read_bytes(), 0.5))
    belongs(tmp_path, {"model": "b"})
    assert once(tmp_path / "own", "part.json", lambda: 2) == 2
    assert (tmp_path / "mine.txt").exists()


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
