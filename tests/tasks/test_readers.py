"""Every reader on a small file of its format, and every way a file can be wrong."""

from pathlib import Path

import pytest

from accord.errors import AccordError
from accord.tasks.readers import Row, Source, read_json_list, read_jsonl, read_rows, read_table


def source(folder: Path, name: str, content: str | bytes) -> Source:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Source.open(path)


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
    found = source(tmp_path, "d.tsv", "kebabs\tfood\tyes\thigh\t0\tYes\t Yes\n")
    rows = read_table(found, tabs=True, columns=("noun1", "noun2"))
    assert rows == [Row({"noun1": "kebabs", "noun2": "food"}, f"{tmp_path}/d.tsv:1")]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    assert read_rows(source(tmp_path, "d.csv", b"\xef\xbb\xbfcity\nRome\n"))[0].values == {"city": "Rome"}


def test_the_fingerprint_is_that_of_the_bytes(tmp_path):
    one, other = source(tmp_path, "a.csv", "a\n1\n"), source(tmp_path, "b.csv", "a\r\n1\r\n")
    assert len(one.sha256) == 64
    assert one.sha256 != other.sha256


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("d.csv", "", ["empty"]),
        ("d.csv", " \n\n", ["empty"]),
        ("d.csv", b"city\nM\xfcnchen\n", ["not UTF-8", "d.csv:2", "0xfc at offset 6"]),
        ("d.csv", b"\xef\xbb\xbfcity\nM\xfcnchen\n", ["d.csv:2", "0xfc"]),
        ("d.csv", "city\n".encode("utf-16-le"), ["not UTF-8", "0x00"]),
        ("d.csv", "a,b\n1\n", ["wrong number of columns", "d.csv:2", "1: 1", "2: a, b"]),
        ("d.csv", "a,b\n1,2,3\n", ["wrong number of columns", "3: 1 | 2 | 3"]),
        ("d.csv", "a,a\n1,2\n", ["names a column twice", "d.csv:1"]),
        ("d.csv", 'a\n"open\n', ["cannot be read", "d.csv:2"]),
        ("d.txt", "a\n1\n", ["unknown ending", ".txt", ".jsonl, .csv or .tsv"]),
        ("d.jsonl", '{"a": 1}\n{"a": \n', ["Malformed JSON", "d.jsonl:2"]),
        ("d.jsonl", '{"a": 1}\n[1]\n', ["not a JSON object", "d.jsonl:2", "a list"]),
    ],
)
def test_a_wrong_file_is_an_error_that_names_the_place(tmp_path, name, content, words):
    with pytest.raises(AccordError) as caught:
        read_rows(source(tmp_path, name, content))
    for word in words:
        assert word in str(caught.value)


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    with pytest.raises(AccordError, match="does not exist"):
        Source.open(tmp_path / "nowhere.csv")
    with pytest.raises(AccordError, match="cannot be read"):
        Source.open(tmp_path)


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


@pytest.mark.parametrize("value", ["yes", "Yes", " TRUE ", True, 1, "1"])
def test_yes_is_read_in_every_spelling(value):
    assert Row({"gold": value}, "d:1").flag("gold") is True


@pytest.mark.parametrize("value", ["no", "No", "false", False, 0, "0"])
def test_no_is_read_in_every_spelling(value):
    assert Row({"gold": value}, "d:1").flag("gold") is False


@pytest.mark.parametrize("value", ["maybe", "", None, 2, ["yes"], 0.5])
def test_a_gold_value_that_says_neither_is_an_error(value):
    with pytest.raises(AccordError, match=r"(?s)no yes or no.*d:7"):
        Row({"gold": value}, "d:7").flag("gold")


def test_a_missing_column_names_those_present_and_the_nearest():
    with pytest.raises(AccordError, match=r"no column 'gold'(?s:.*)city, golden \(did you mean 'golden'\?\)"):
        Row({"golden": "yes", "city": "Rome"}, "d:1").flag("gold")


@pytest.mark.parametrize("value", ["  ", None, [], {"a": 1}])
def test_a_cell_without_text_is_an_error(value):
    with pytest.raises(AccordError, match=r"'city' is (empty|not text)"):
        Row({"city": value}, "d:1").text("city")


def test_jsonl_reader_is_the_one_for_its_ending(tmp_path):
    found = source(tmp_path, "d.jsonl", '{"a": 1}\n')
    assert read_rows(found) == read_jsonl(found)
