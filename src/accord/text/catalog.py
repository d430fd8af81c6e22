"""Texts that the Python package registry carries: fetched once, verified, and read without running anything."""

import json
import shutil
import tarfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from accord.cache import Say, cache_root, install, is_whole, pip_download
from accord.lm.catalog import say_on_stderr

_PACKAGE, _VERSION = "vaderSentiment", "3.3.2"
_SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
DOWNLOAD, CONVERTED = 2_500_000, 3_570_000
"""Bytes that are fetched, and that the texts take afterwards, about."""
_ARCHIVE = f"{_PACKAGE}-{_VERSION}/additional_resources/hutto_ICWSM_2014.tar.gz"


@dataclass(frozen=True)
class TextEntry:
    """A set of short English texts, each with a human sentiment mean from −4 to 4 (Hutto and Gilbert, ICWSM 2014).

    Attributes:
        member: the file within the package's archive of data: id, mean, text; tab-separated, no header.
        rows: texts in it.
    """

    name: str
    description: str
    license: str
    member: str
    rows: int


TEXTS = {
    name: TextEntry(name, description, "MIT", f"hutto_ICWSM_2014/{stem}_GroundTruth.txt", rows)
    for name, description, stem, rows in (
        ("movie-reviews", "sentences of movie reviews", "movieReviewSnippets", 10_605),
        ("amazon-reviews", "sentences of product reviews", "amazonReviewSnippets", 3_708),
        ("news-editorials", "sentences of New York Times editorials", "nytEditorialSnippets", 5_190),
        ("tweets", "tweets, with their HTML escapes as published", "tweets", 4_200),
    )
}


def texts_file(name: str, *, say: Say = say_on_stderr) -> Path:
    """The `.jsonl` file (id, sentiment, text) of a catalog entry, fetched if it is not in the cache.

    Raises AccordError if it cannot be fetched, or what arrives has another SHA-256.
    """
    return install(folder(), _SHA256, partial(_fetch, say=say), _convert, say, thorough=True) / f"{name}.jsonl"


def is_cached() -> bool:
    """Whether the texts are in accord's cache."""
    return is_whole(folder())


def folder() -> Path:
    """Where the texts lie, or will."""
    return cache_root() / "texts" / f"{_PACKAGE.lower()}-{_SHA256[:12]}"


# Asked for a source archive, pip prepares its metadata, which runs the archive's own setup.py, even if only to
# download it. This build backend takes the place of the one that would: it states the name and runs nothing.
_BACKEND = f"""
import os

class __legacy__:
    @staticmethod
    def prepare_metadata_for_build_wheel(folder, settings=None):
        name = "{_PACKAGE}-{_VERSION}.dist-info"
        os.makedirs(os.path.join(folder, name))
        with open(os.path.join(folder, name, "METADATA"), "w") as file:
            file.write("Metadata-Version: 2.1\\nName: {_PACKAGE}\\nVersion: {_VERSION}\\n")
        return name
"""


def _fetch(into: Path, *, say: Say) -> Path:
    say("Fetching texts: movie and product reviews, editorials, tweets (2.5 MB, license: MIT)")
    backend = into / "backend" / "setuptools"
    backend.mkdir(parents=True)
    (backend / "__init__.py").touch()
    (backend / "build_meta.py").write_text(_BACKEND)
    requirements = into / "wanted.txt"
    requirements.write_text(f"{_PACKAGE}=={_VERSION} --hash=sha256:{_SHA256}\n")
    pip_download(
        "the catalog's texts",
        ["--no-binary=:all:", "--no-build-isolation", "--require-hashes", "--requirement", str(requirements)],
        into,
        instead="a .jsonl, .csv, .tsv, .parquet or .txt file",
        environment={"PYTHONPATH": str(backend.parent), "PIP_USE_PEP517": "1"},
    )
    (archive,) = into.glob("*.tar.gz")
    return archive


def _convert(source: Path, folder: Path) -> None:
    with tarfile.open(source) as outer, tarfile.open(fileobj=outer.extractfile(_ARCHIVE)) as inner:
        for entry in TEXTS.values():
            member = inner.extractfile(entry.member)
            assert member is not None  # the bytes are the known ones
            lines = member.read().decode("utf-8").split("\r\n")
            with (folder / f"{entry.name}.jsonl").open("w", encoding="utf-8") as file:
                for line in filter(None, lines):
                    number, mean, text = line.split("\t")
                    row = {"id": number, "sentiment": float(mean), "text": text}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        licence = outer.extractfile(f"{_PACKAGE}-{_VERSION}/LICENSE.txt")
        assert licence is not None
        with (folder / "LICENSE.txt").open("wb") as file_of_licence:
            shutil.copyfileobj(licence, file_of_licence)
