"""Every reader on a small file of its format, and every way a file can be wrong."""

import csv
import gzip
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import AccordError
from accord.tasks.readers import CellError, DataFile, DataRow, read_json_list, read_jsonl, read_rows, read_table


def source(folder: Path, name: str, content: str | bytes) -> DataFile:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return DataFile.open(path)


def test_csv_keeps_quoted_commas_and_names_the_first_line_of_a_row_that_spans_lines(tmp_path):
    rows = read_rows(source(tmp_path, "d.csv", 'city,note\nRome,"a, b\nc"\r\n\nOslo,d\n'))
    assert [row.values for row in rows] == [
        {"city": "Rome", "note": "a, b\nc"},
        {"city": "Oslo", "note": "d"},
    ]
    assert [row.where for row in rows] == [f"{tmp_path}/d.csv:2", f"{tmp_path}/d.csv:5"]


def test_tsv_takes_quotes_as_they_are(tmp_path):
    rows = read_rows(source(tmp_path, "d.tsv", 'a\tb\n"Hello" she said\t6" nails\n'))
    assert rows[0].values == {"a": '"Hello" she said', "b": '6" nails'}


def test_jsonl_passes_over_blank_lines_and_not_over_unicode_separators(tmp_path):
    rows = read_rows(source(tmp_path, "d.jsonl", '{"a": "x\u2028y"}\n\n{"a": 2}\n'))
    assert [row.text("a") for row in rows] == ["x\u2028y", "2"]
    assert rows[1].where.endswith("d.jsonl:3")


def test_a_table_without_header_leaves_further_columns_alone(tmp_path):
    file = source(tmp_path, "d.tsv", "kebabs\tfood\tyes\thigh\t0\tYes\t Yes\n")
    rows = read_table(file, columns=("noun1", "noun2"))
    assert rows == [DataRow({"noun1": "kebabs", "noun2": "food"}, f"{tmp_path}/d.tsv:1")]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    assert read_rows(source(tmp_path, "d.csv", b"\xef\xbb\xbfcity\nRome\n"))[0].values == {"city": "Rome"}


def test_the_fingerprint_is_that_of_the_bytes(tmp_path):
    unix, windows = source(tmp_path, "a.csv", "a\n1\n"), source(tmp_path, "b.csv", "a\r\n1\r\n")
    assert len(unix.sha256) == 64
    assert unix.sha256 != windows.sha256


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_mark_themselves(tmp_path, encoding):
    rows = read_rows(source(tmp_path, "d.csv", "city;n\r\nMünchen;1\r\n".encode(encoding)))
    assert rows == [DataRow({"city": "München", "n": "1"}, f"{tmp_path}/d.csv:2")]


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        ("a;b\n1,5;2,5\n", ";"),
        ('a;"b, c"\n1;2\n', ";"),
        ('"a;b";c, d;e\n"1;2";3;4\n', ";"),
        ("a,b;c\n1,2\n1,3\n", ","),
        ("a,b;c\n1;2\n", ";"),
        ("sep=;\na,b;c,d\n1,2;3,4\n", ";"),
        ("a|b\n1|2\n", "|"),
        ("a\tb\n1,2\t3\n", "\t"),
        ("a\n1\n", ","),
    ],
)
def test_the_delimiter_is_the_one_that_divides_header_and_lines_alike(tmp_path, content, delimiter):
    file = source(tmp_path, "d.csv", content)
    assert file.delimiter == delimiter
    rows = read_rows(file)
    assert all(row.where.endswith(".csv:3" if "sep=" in content else f".csv:{i}") for i, row in enumerate(rows, 2))


@given(
    st.sampled_from(",;\t|"),
    st.lists(st.lists(st.text('ab ,;|\t"\n', min_size=1), min_size=2, max_size=2), min_size=1),
)
@settings(max_examples=100, deadline=None)
def test_whatever_a_writer_quotes_is_read_back(delimiter, cells):
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([["one", "two"], *cells])
    file = DataFile(Path("d.csv"), text.getvalue().encode(), "")
    wanted = [{"one": one.strip(), "two": two.strip()} for one, two in cells if (one + two).strip()]
    assert [row.values for row in read_rows(file)] == wanted


def test_empty_cells_at_the_end_blank_lines_and_unnamed_columns_are_left_alone(tmp_path):
    rows = read_rows(source(tmp_path, "d.csv", ",a,b,,\r\n0,1,2,,\r\n,,,,\r\n\r\n1,3,4\r\n"))
    assert [row.values for row in rows] == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def test_a_line_that_ends_early_lacks_its_last_cells(tmp_path):
    rows = read_rows(source(tmp_path, "d.csv", "a,b\n1,2\n3\n"))
    assert rows[1].values == {"a": "3", "b": None}


def test_cells_of_any_length(tmp_path):
    long = "x" * 200_000
    assert read_rows(source(tmp_path, "d.csv", f"a,b\n{long},2\n"))[0].text("a") == long


def test_json_objects_may_lack_keys_that_others_have(tmp_path):
    rows = read_rows(source(tmp_path, "d.jsonl", '{"a": 1}\n{"b": NaN}\n'))
    assert [row.texts() for row in rows] == [{"a": "1", "b": ""}, {"a": "", "b": ""}]


def test_json_with_a_list_or_with_lines_whatever_its_ending(tmp_path):
    for name, content in (("d.json", '{"a": 1}\n{"a": 2}\n'), ("d.jsonl", '[{"a": 1},\n{"a": 2}]')):
        assert [row.text("a") for row in read_rows(source(tmp_path, name, content))] == ["1", "2"]


def test_parquet_values_are_texts_and_numbers_and_nothing(tmp_path):
    table = pd.DataFrame({"n": [1, 2], "x": [1.5, float("nan")], "s": ["a", None], "tags": [["a"], ["b"]]})
    table["day"] = pd.to_datetime(["2024-01-02", "2024-01-03"]).date
    table.to_parquet(tmp_path / "d.parquet")
    rows = read_rows(DataFile.open(tmp_path / "d.parquet"))
    assert rows[0].texts() == {"n": "1", "x": "1.5", "s": "a", "day": "2024-01-02"}
    assert rows[1].texts() == {"n": "2", "x": "", "s": "", "day": "2024-01-03"}
    assert rows[1].where == f"{tmp_path}/d.parquet: row 2"
    with pytest.raises(AccordError, match="'tags' is not text"):
        rows[0].text("tags")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("d.csv", "", ["empty"]),
        ("d.csv", " \n\n", ["empty"]),
        ("d.csv", b"city\nM\xfcnchen\n", ["not UTF-8", "d.csv:2", "0xfc after ['M']", "save it as UTF-8"]),
        ("d.csv", b"\xef\xbb\xbfcity\nM\xfcnchen\n", ["d.csv:2", "0xfc"]),
        ("d.csv", "city\nRome\n".encode("utf-16-le"), ["not UTF-8", "d.csv:1", "zero byte", "UTF-16"]),
        ("d.csv", "city\nRome\n".encode("utf-16") + b"\0\xd8", ["UTF-16", "d.csv:3"]),
        ("d.csv", "city\nRo\0me\n", ["d.csv:2", "zero byte"]),
        ("d.csv", "a,b\n1\n", ["wrong number of columns", "d.csv:2", "1: 1", "2: a, b"]),
        ("d.csv", "a,b\n1,2,3\n", ["wrong number of columns", "3: 1 | 2 | 3"]),
        ("d.csv", "a,b;c\n1,2;3\n", ["is not clear", "d.csv", "a,b;c", "comma", "semicolon", "sep=;"]),
        ("d.csv", "a,a\n1,2\n", ["names a column twice", "d.csv:1"]),
        ("d.csv", 'a\n"open\n', ["cannot be read", "d.csv:2"]),
        ("d.csv.gz", b"\x1f\x8b broken", ["damaged or cut off"]),
        ("d.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0)[:-9], ["damaged or cut off"]),
        ("d.csv.gz", "a,b\n1,2\n", ["damaged or cut off"]),
        ("d.txt", "a\n1\n", ["unknown ending", ".txt", ".parquet"]),
        ("d.jsonl", '{"a": 1}\n{"a": \n', ["Malformed JSON", "d.jsonl:2"]),
        ("d.jsonl", '{"a": 1}\n[1]\n', ["not a JSON object", "d.jsonl:2", "a list"]),
        ("d.jsonl", '{"a": 1}\n{"b": ' + "[" * 100_000, ["cannot be read", "d.jsonl:2"]),
        ("d.jsonl", '{"a": ' + "9" * 5000 + "}", ["cannot be read", "d.jsonl:1"]),
        ("d.parquet", "PAR1 no PAR1", ["not a readable Parquet"]),
    ],
)
def test_a_wrong_file_is_an_error_that_names_the_place(tmp_path, name, content, words):
    with pytest.raises(AccordError) as caught:
        read_rows(source(tmp_path, name, content))
    for word in words:
        assert word in str(caught.value)
    assert "iconv" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    with pytest.raises(AccordError, match="does not exist"):
        DataFile.open(tmp_path / "nowhere.csv")
    with pytest.raises(AccordError, match="cannot be read"):
        DataFile.open(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"a": 1}', ["not a JSON list", "an object"]),
        ('[{"a": 1}, 2]', ["entry 2", "not a JSON object"]),
        ('[\n{"a": 1},\n{"a" 2}]', ["Malformed JSON", "d.json:3"]),
    ],
)
def test_a_wrong_json_list_is_an_error(tmp_path, content, words):
    with pytest.raises(AccordError) as caught:
        read_json_list(source(tmp_path, "d.json", content))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("value", ["yes", "Yes", " TRUE ", True, 1, "1", "y", "T", 1.0, "1.0"])
def test_yes_is_read_in_every_spelling(value):
    assert DataRow({"gold": value}, "d:1").flag("gold") is True


@pytest.mark.parametrize("value", ["no", "No", "false", False, 0, "0", "n", "F", 0.0, "0.0"])
def test_no_is_read_in_every_spelling(value):
    assert DataRow({"gold": value}, "d:1").flag("gold") is False


@pytest.mark.parametrize("value", ["maybe", 2, ["yes"], 0.5, "10", "0.01"])
def test_a_gold_value_that_says_neither_is_an_error(value):
    with pytest.raises(AccordError, match=r"(?s)no yes or no.*d:7"):
        DataRow({"gold": value}, "d:7").flag("gold")


@pytest.mark.parametrize("value", ["", None, float("nan")])
def test_a_missing_gold_value_is_empty(value):
    with pytest.raises(CellError, match="'gold' is empty"):
        DataRow({"gold": value}, "d:7").flag("gold")


def test_words_of_another_language_are_gold_too():
    assert DataRow({"gold": "JA"}, "d:1").flag("gold", yes=["Ja"], no=["Nein"])
    assert not DataRow({"gold": "Nein "}, "d:1").flag("gold", yes=["Ja"], no=[" Nein"])
    with pytest.raises(CellError, match="Ja or Nein"):
        DataRow({"gold": "vielleicht"}, "d:1").flag("gold", yes=["Ja"], no=["Nein"])


def test_half_a_character_is_a_wrong_cell():
    row = DataRow({"a": "\ud800", "b": "x"}, "d:1")
    for read in (lambda: row.text("a"), row.texts):
        with pytest.raises(CellError, match="'a' holds half a character"):
            read()


def test_a_missing_column_names_those_present_and_the_nearest():
    with pytest.raises(AccordError, match=r"no column 'gold'(?s:.*)city, golden \(did you mean 'golden'\?\)"):
        DataRow({"golden": "yes", "city": "Rome"}, "d:1").flag("gold")


@pytest.mark.parametrize("value", ["  ", None, [], {"a": 1}, float("nan"), float("inf"), b"x"])
def test_a_cell_without_text_is_an_error(value):
    with pytest.raises(AccordError, match=r"'city' is (empty|not text)"):
        DataRow({"city": value}, "d:1").text("city")


def test_jsonl_reader_is_the_one_for_its_ending(tmp_path):
    file = source(tmp_path, "d.jsonl", '{"a": 1}\n')
    assert read_rows(file) == read_jsonl(file)
