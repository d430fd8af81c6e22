"""Links of the page to files of the run folder, and how large these are."""

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from accord.amounts import in_bytes


def href(path: Path, run: Path) -> str:
    """A link from the page of a run to a file of it.

    >>> href(Path("runs/demo/gap/my task/scores.parquet"), Path("runs/demo"))
    './gap/my%20task/scores.parquet'
    """
    return "./" + quote(path.relative_to(run).as_posix())  # "./": a name with a colon must not become a scheme


def size(paths: Iterable[Path]) -> str:
    """How large files are together, in words."""
    return in_bytes(sum(path.stat().st_size for path in paths))
