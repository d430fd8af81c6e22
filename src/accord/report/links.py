"""Links of the page to files of the run folder, how large these are, and names for files of what is on it."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from accord.amounts import in_bytes
from accord.report.chapter import Chapter

_LONGEST = 80  # letters of a file's name


def href(path: Path, run: Path) -> str:
    """A link from the page of a run to a file of it.

    >>> href(Path("runs/demo/gap/my task/scores.parquet"), Path("runs/demo"))
    './gap/my%20task/scores.parquet'
    """
    return "./" + quote(path.relative_to(run).as_posix())  # "./": a name with a colon must not become a scheme


def size(paths: Iterable[Path]) -> str:
    """How large files are together, in words."""
    return in_bytes(sum(path.stat().st_size for path in paths))


def file_name(chapter: Chapter, key: str) -> str:
    """A name for a file of something in a chapter, from the id that it has on the page.

    Chapters that are numbered are called by their titles.

    >>> file_name(Chapter("gap-2", "hypernymy", Path(), {}), "gap-2-scatter")
    'gap-hypernymy-scatter'
    >>> file_name(Chapter("repair", "Repairs", Path(), {}), "Every seed, in numbers")
    'repair-every-seed-in-numbers'
    """
    kind = re.sub(r"-\d+$", "", chapter.key)
    title = "" if kind == chapter.key else slug(chapter.title)
    whole = title if title.startswith(kind) else "-".join(filter(None, (kind, title)))
    rest = slug(key.removeprefix(chapter.key)).removeprefix(f"{slug(whole)}-")
    return "-".join(filter(None, (slug(whole), rest)))[:_LONGEST].rstrip("-")


def label_key(label: str) -> str:
    """A label in letters that a link and an id can hold."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", label)


def slug(text: str) -> str:
    """Small letters, digits and hyphens: what names a file anywhere.

    >>> slug("Größe: r, all")
    'grosse-r-all'
    """
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
