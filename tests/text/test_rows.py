"""Readers of every ending: good rows as they are, broken ones with their place and reason."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import AccordError
from accord.text.rows import file_rows


def read(path: Path, *columns: str) -> list[tuple[str, object]]:
    """(place after the file's name, text or problem)"""
    rows = file_rows(path, columns or ["text"])
    return [(row.where.removeprefix(str(path)), row.problem or row.values.get("text")) for row in rows]


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_txt_is_a_text_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\n\n two \nthr\xffee\nfo\xe2\x80\xa8ur\nl\0ast")
    assert read(path) == [
        (":1", "one"),
        (":3", " two "),
        (":4", "not UTF-8"),
        (":5", "fo\u2028ur"),
        (":6", "not UTF-8"),
    ]


def test_jsonl(tmp_path: Path) -> None:
    lines = [
        b'{"text": "one"}',
        b"",
        b"{broken",
        b"[1]",
        b'{"other": 1}',
        b'{"text": "\xff"}',
        b'{"text": "caf\\u00e9"}',
    ]
    assert read(write(tmp_path / "a.jsonl", b"\n".join(lines))) == [
        (":1", "one"),
        (":3", "not JSON"),
        (":4", "not a JSON object"),
        (":5", None),
        (":6", "not UTF-8"),
        (":7", "café"),
    ]


def test_csv(tmp_path: Path) -> None:
    long = "x" * 200_000
    table = b'id,text\n1,"a, ""b""\nc"\n2,two\n3\n4,d\xffe\n5,' + long.encode() + b'\n6,"x"y\n7,"open\n'
    rows = read(write(tmp_path / "a.csv", table))
    assert rows[:5] == [
        (":2", 'a, "b"\nc'),
        (":4", "two"),
        (":5", "wrong number of cells"),
        (":6", "not UTF-8"),
        (":7", long),
    ]
    assert [str(problem)[:7] for _, problem in rows[5:]] == ["not CSV", "not CSV"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_semicolons_and_marked_encodings(tmp_path: Path, encoding: str) -> None:
    table = "text;n;\r\nMünchen, am 1,5;2;\r\n\r\n;;\r\nzwei;3\r\n".encode(encoding)
    assert read(write(tmp_path / "a.csv", table)) == [(":2", "München, am 1,5"), (":5", "zwei")]
    assert read(write(tmp_path / "a.txt", "eins\r\n\r\nzwöi".encode(encoding))) == [(":1", "eins"), (":3", "zwöi")]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv", "a.parquet", "a.txt", "a.md"])
def test_compressed_files_are_read_like_others_and_damaged_ones_are_errors(tmp_path: Path, name: str) -> None:
    plain = tmp_path / name
    if name == "a.parquet":
        pd.DataFrame({"text": ["one", "two"]}).to_parquet(plain)
    else:
        content = {"a.jsonl": '{"text": "one"}\n{"text": "two"}\n', "a.csv": "text,n\none,1\n", "a.tsv": "text\none\n"}
        write(plain, content.get(name, "one\ntwo\n"))
    packed = gzip.compress(plain.read_bytes())
    rows = [row.values["text"] for row in file_rows(write(tmp_path / f"{name}.gz", packed), ["text"])]
    assert rows == [row.values["text"] for row in file_rows(plain, ["text"])] and rows
    for broken in (packed[:-9], b"no archive"):
        with pytest.raises(AccordError, match=r"damaged or cut off|not a readable Parquet"):
            list(file_rows(write(tmp_path / f"{name}.gz", broken), ["text"]))


def test_json_of_endless_brackets_is_one_bad_row(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.jsonl", '{"text": "one"}\n' + "[" * 100_000)) == [(":1", "one"), (":2", "not JSON")]


def test_tsv_knows_no_quotes(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.tsv", 'text\tn\n"a\t1\nb"\t2\n')) == [(":2", '"a'), (":3", 'b"')]


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({"text": ["one", None], "n": [1, 2]}).to_parquet(path)
    assert read(path) == [(": row 1", "one"), (": row 2", None)]
    with pytest.raises(AccordError, match="no column 'review'"):
        read(path, "review")
    with pytest.raises(AccordError, match="not a readable Parquet"):
        read(write(path, b"PAR1 no PAR1"))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt"])
def test_a_column_that_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(AccordError, match="no column 'txet'") as caught:
        read(write(tmp_path / name, "text\none\n"), "txet")
    assert "did you mean 'text'" in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(AccordError, match="unknown ending"):
        read(write(tmp_path / "a.doc", "x"))
    with pytest.raises(AccordError, match="does not exist"):
        read(tmp_path / "none.txt")


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(st.lists(texts, max_size=5))
@settings(max_examples=50, deadline=None)
def test_what_is_written_is_read(some: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        jsonl = write(
            Path(folder, "a.jsonl"), "".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in some)
        )
        assert [text for _, text in read(jsonl)] == some
        parquet = Path(folder, "a.parquet")
        pd.DataFrame({"text": pd.Series(some, dtype="object")}).to_parquet(parquet)
        assert [text for _, text in read(parquet)] == some
        table = Path(folder, "a.csv")
        pd.DataFrame({"text": some, "n": 1}).to_csv(table, index=False)
        # pandas writes "\r" unquoted, which ends a row: not a text that CSV can hold
        if not any("\r" in text for text in some):
            assert [text for _, text in read(table)] == some
