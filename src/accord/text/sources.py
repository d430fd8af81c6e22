"""What a source of texts names: a catalog entry, files, a folder of them, a saved data set, or one on the hub."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from accord import hub
from accord.cache import cache_root, hash_file
from accord.disk import path_of
from accord.errors import AccordError, nearest
from accord.text.catalog import TEXTS, is_cached, texts_file
from accord.text.hub import check_installed, fetch_data, hub_rows
from accord.text.rows import ENDINGS, PROSE, TextRow, Unit, arrow_rows, choose_split, file_rows
from accord.textfile import ending

_SPLIT_WORDS = {"train", "training", "test", "testing", "validation", "valid", "val", "dev", "eval", "evaluation"}
_HUB_CARD = re.compile(r"---\n(?:.*\n)*?(?:configs|dataset_info):")
_SAVED, _SAVED_SPLITS = "state.json", "dataset_dict.json"


def source_rows(
    source: str, columns: Sequence[str], *, unit: Unit | None, split: str | None, limit: int | None, seed: int
) -> Iterator[TextRow]:
    """The rows of a source; see `accord.text.corpus`. `limit` and `seed` draw from data sets of the hub only.

    Raises:
        AccordError: there is no such source, it cannot be read, or an option does not go with it.
    """
    path = path_of(source)
    files = _files(path)
    is_folder = path.is_dir() and bool(source.strip())
    saved = is_folder and any((path / name).is_file() for name in (_SAVED, _SAVED_SPLITS))
    in_hub_layout = is_folder and not saved and (split is not None or _is_hub_layout(path))
    on_hub = not is_folder and not files and source not in TEXTS and is_hub_name(source)
    if not files and source in TEXTS and not is_folder:
        files = [texts_file(source)]
    if unit is not None and (saved or in_hub_layout or on_hub or (files and not any(map(_is_prose, files)))):
        raise AccordError("unit says what one text of a .txt or .md file is", where=source, got=f"unit = {unit!r}")
    if saved:
        yield from arrow_rows(path, _saved_files(path, split), columns)
    elif in_hub_layout or on_hub:
        yield from hub_rows(str(path) if is_folder else source, columns, split=split, limit=limit, seed=seed)
    elif split is not None and files:
        raise AccordError("Only data sets of the hub have splits", where=source, got=f"split = {split!r}")
    elif is_folder:
        yield from _folder_rows(path, columns, unit)
    elif files:
        yield from _all_rows(files, columns, unit)
    else:
        raise no_such_source(source)


def no_such_source(source: str) -> AccordError:
    """The error for a source of no known kind."""
    return AccordError(
        "There is no such source of texts",
        got=repr(source),
        wanted=nearest(source, TEXTS),
        fix=f'use one of these, a file, pattern or folder ({", ".join(ENDINGS)}), or a hub data set "org/name"',
    )


def is_local(source: str) -> bool:
    """Whether the source is on this machine, so that looking at it fetches nothing."""
    path = path_of(source)
    return bool(_files(path)) or (path.is_dir() and bool(source.strip()))


def is_here(source: str) -> bool:
    """Whether reading a source that is not local fetches nothing. Raises AccordError if there is no such source."""
    if source not in TEXTS and not is_hub_name(source):
        raise no_such_source(source)
    if source not in TEXTS:
        check_installed(source)
    return source in TEXTS and is_cached()


def fetch_source(source: str) -> None:
    """Fetch a source that is not local, unless it is here already. Raises AccordError if there is no such source."""
    if source in TEXTS:
        texts_file(source)
    elif is_hub_name(source):
        fetch_data(source)
    else:
        raise no_such_source(source)


def bytes_to_fetch(source: str) -> tuple[int, Path]:
    """Bytes that fetching a source that is not local takes on the disk, as far as is known, and the folder where."""
    name, _, config = source.partition(":")
    size = None if source in TEXTS or config else hub.bytes_to_fetch(name, kind="dataset")
    return size or 0, cache_root() if source in TEXTS else hub.cache_folder()


def is_hub_name(source: str) -> bool:
    """Whether this is written like a data set of the hub: "org/name" or "org/name:config".

    >>> is_hub_name("stanfordnlp/sst2"), is_hub_name("data/reviews.csv")
    (True, False)
    """
    return bool(re.fullmatch(r"\w[\w.-]*/[\w.-]*\w(:[\w.-]+)?", source)) and ending(Path(source)) not in ENDINGS


def source_fingerprint(source: str) -> str:
    """Identity of what a source holds: a hash of its files, which are not parsed; its name, if it is not local."""
    path = path_of(source)
    files = _files(path) or (sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [])
    if not files:
        return source
    digest = hashlib.sha256("".join(f"{file.name}\0{hash_file(file)}\n" for file in files).encode())
    if sum(map(_is_prose, files)) > 1:
        digest.update(b"each a document")  # unlike before, when the lines of several files were divided one by one
    return f"files:{digest.hexdigest()[:16]}"


def _files(path: Path) -> list[Path]:
    """The file, or the files that the path names as a pattern."""
    try:
        if path.is_file() or path.is_dir():
            return [path] if path.is_file() else []
        return sorted(file for file in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if file.is_file())
    except (ValueError, OSError):  # "a**b" is no pattern; a zero byte, or too long a name
        return []


def _is_prose(path: Path) -> bool:
    return ending(path) in PROSE


def _all_rows(files: Sequence[Path], columns: Sequence[str], unit: Unit | None) -> Iterator[TextRow]:
    """The rows of several files. Of several `.txt` and `.md` files each is one document, also where lines are texts."""
    several = sum(map(_is_prose, files)) > 1
    for file in files:
        document = str(file) if several and _is_prose(file) else None
        for row in file_rows(file, columns, unit):
            yield TextRow(row.where, row.values, row.problem, document)


def _folder_rows(folder: Path, columns: Sequence[str], unit: Unit | None) -> Iterator[TextRow]:
    """The rows of all files in a folder and below; what is no file of texts is left out with its reason."""
    files = [path for path in _visible(folder) if ending(path) in ENDINGS]
    about = [path for path in files if path.parent == folder and path.stem.lower() == "readme"]
    files = [path for path in files if path not in about] or files
    if not files:
        raise AccordError("There are no files of texts in this folder", where=folder, wanted=", ".join(ENDINGS))
    for path in _visible(folder):
        if path not in files:
            problem = "a file that tells of the others" if path in about else "a file with another ending"
            yield TextRow(str(path), problem=problem)
    yield from _all_rows(files, columns, unit)


def _visible(folder: Path) -> list[Path]:
    """The files in a folder and below, without hidden ones and those in hidden folders."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if not any(name.startswith(".") for name in path.relative_to(folder).parts))


def _is_hub_layout(folder: Path) -> bool:
    """Whether a card names the files, or all of them are named after splits: the hub's way to divide a folder."""
    card = folder / "README.md"
    try:
        if card.is_file() and _HUB_CARD.match(card.read_text(encoding="utf-8", errors="replace")):
            return True
    except OSError as error:
        raise AccordError(f"The file cannot be read: {error.strerror}", where=card) from error
    files = [path for path in _visible(folder) if ending(path) in ENDINGS and path != card]
    names = [re.split(r"[\W_\d]+", str(path.relative_to(folder)).lower()) for path in files]
    return bool(files) and all(_SPLIT_WORDS & set(words) for words in names)


def _saved_files(folder: Path, split: str | None) -> list[Path]:
    """The Arrow files of a data set that `save_to_disk` wrote."""
    try:
        if (folder / _SAVED_SPLITS).is_file():
            splits = json.loads((folder / _SAVED_SPLITS).read_text(encoding="utf-8"))["splits"]
            return _saved_files(folder / choose_split(split, splits, folder), None)
        if split is not None:
            raise AccordError("This data set has no splits", where=folder, got=f"split = {split!r}")
        entries = json.loads((folder / _SAVED).read_text(encoding="utf-8"))["_data_files"]
        return [folder / Path(str(entry["filename"])).name for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise AccordError("This data set was not saved whole", where=folder, got=repr(error)) from error
