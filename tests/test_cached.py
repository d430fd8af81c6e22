"""The cache: what is there, and what `accord cache --remove` takes away."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from accord import cached, cli
from accord.cache import _seal
from accord.disk import lock
from accord.errors import AccordError
from accord.lm.catalog import CATALOG
from accord.text import catalog as texts


def said(*words):
    done = CliRunner().invoke(cli.app, list(words))
    return done.exit_code, done.output


def fill(folder, size, *, whole=True):
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(size))
    if whole:
        _seal(folder, "0" * 64)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A cache with a model, one of a user's file, texts, what a cut fetch left, and hashes."""
    home = tmp_path / "accord"
    monkeypatch.setenv("ACCORD_HOME", str(home))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no hub"))
    fill(CATALOG["smollm2-135m"].folder, 5000)
    fill(home / "models" / "mine-0123456789ab", 300, whole=False)
    fill(texts.folder(), 70)
    fill(home / "models" / ".gemma3-270m-a5fd3b62230a.partial", 40)
    (home / "models" / ".smollm2-135m.lock").touch()
    (home / "hashes").mkdir()
    (home / "hashes" / ("a" * 64)).write_text("b" * 64)
    return home


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub's cache with two models, one of which accord can use, and a data set."""
    root = tmp_path / "hub"
    files = {
        "models--org--small": {"model.safetensors": "12", "README.md": "---\nlicense: apache-2.0\ntags: []\n---\nhi"},
        "models--org--pickled": {"model.bin": "12"},
        "datasets--org--texts": {"train.csv": "123"},
    }
    for repo, contents in files.items():
        (root / repo / "refs").mkdir(parents=True)
        (root / repo / "refs" / "main").write_text("a" * 40)  # the same for all, as of copies on the hub
        (root / repo / "snapshots" / ("a" * 40)).mkdir(parents=True)
        (root / repo / "blobs").mkdir()
        for name, text in contents.items():
            (root / repo / "blobs" / name).write_text(text)
            (root / repo / "snapshots" / ("a" * 40) / name).symlink_to(root / repo / "blobs" / name)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root))
    return root


def test_what_is_there(home):
    found = {entry.name: entry for entry in cached.entries()}
    assert list(found) == [
        ".gemma3-270m-a5fd3b62230a.partial",
        "mine-0123456789ab",
        "smollm2-135m",
        "vadersentiment",
        "bookkeeping",
    ]
    assert found["smollm2-135m"].licence == "Apache-2.0" and found["smollm2-135m"].bytes > 5000
    assert "not whole" in found["mine-0123456789ab"].what and "not whole" not in found["smollm2-135m"].what
    assert found["vadersentiment"].licence == "MIT" and "movie-reviews" in found["vadersentiment"].what
    assert "cut short" in found[".gemma3-270m-a5fd3b62230a.partial"].what
    code, text = said("cache")
    assert code == 0 and all(name in text for name in found) and "licence" in text
    assert f"{home}: 6 kB in all" in text


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("smollm2-135m", "models/smollm2-135m-b179c9523d0e"),
        ("movie-reviews", "texts/vadersentiment-5d7c06e027fc"),
        (".gemma3-270m-a5fd3b62230a.partial", "models/.gemma3-270m-a5fd3b62230a.partial"),
        ("bookkeeping", "hashes"),
    ],
)
def test_one_thing_is_removed_and_no_other(home, name, gone):
    before = {path for path in home.rglob("*") if path.is_file()}
    code, text = said("cache", "--remove", name)
    assert code == 1 and "--yes" in text and {path for path in home.rglob("*") if path.is_file()} == before
    assert said("cache", "--remove", name, "--yes")[0] == 0
    left = {path for path in home.rglob("*") if path.is_file()}
    assert not (home / gone).exists() and left == {path for path in before if not path.is_relative_to(home / gone)}


def test_what_is_being_fetched_is_left(home):
    partial = home / "models" / ".gemma3-270m-a5fd3b62230a.partial"
    with lock(home / "models" / "gemma3-270m-a5fd3b62230a"):
        assert "being fetched now" in said("cache")[1]
        with pytest.raises(AccordError, match="Another accord process"):
            cached.remove(partial.name)
    assert partial.exists()


def test_a_link_in_the_cache_is_not_accords(home, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (home / "models" / "link-0123456789ab").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AccordError, match="no such thing"):
        cached.remove("link-0123456789ab")
    with pytest.raises(AccordError, match="did you mean 'smollm2-135m'"):
        cached.remove("smollm2")


def test_models_of_the_hub_are_listed_and_go_only_by_their_name(home, hub):
    found = {entry.name: entry for entry in cached.entries() if entry.place == "hub"}
    assert found.keys() == {"org/small", "org/texts"}
    assert found["org/small"].licence == "apache-2.0" and found["org/texts"].licence == ""
    code, text = said("cache", "--remove", "org/small")
    assert code == 1 and "other programs use" in text and (hub / "models--org--small").exists()
    assert said("cache", "--remove", "org/small", "--yes")[0] == 0
    assert sorted(path.name for path in hub.iterdir()) == ["datasets--org--texts", "models--org--pickled"]


def test_an_empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORD_HOME", str(tmp_path / "nowhere"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no hub"))
    assert cached.entries() == [] and said("cache") == (0, f"{tmp_path / 'nowhere'}: 0 B in all\n")
    assert not (tmp_path / "nowhere").exists()


def test_what_a_download_takes():
    assert cached.download_of("smollm2-135m", "a model").stored == CATALOG["smollm2-135m"].converted
    assert cached.download_of("tweets", "texts").bytes == texts.DOWNLOAD
    assert cached.download_of("org/model", "a model").bytes is None


@pytest.mark.real
def test_the_catalog_says_about_how_large_a_converted_model_is():
    entry = CATALOG["smollm2-135m"]
    on_disk = entry.on_disk
    assert on_disk is None or abs(on_disk - entry.converted) < 0.02 * on_disk


def test_where_the_disk_does_not_note_reading_nothing_is_said(home, monkeypatch):
    real = os.statvfs

    class Noted:
        def __init__(self, path: Path) -> None:
            self.f_flag = real(path).f_flag | os.ST_NOATIME

    monkeypatch.setattr("os.statvfs", Noted)
    assert all(entry.used is None for entry in cached.entries())
