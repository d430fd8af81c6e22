"""Links of the page to files of the run folder, and how large these are."""

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote


def href(path: Path, run: Path) -> str:
    """A link from the page of a run to a file of it.

    >>> href(Path("runs/demo/gap/my task/scores.parquet"), Path("runs/demo"))
    './gap/my%20task/scores.parquet'
    """
    return "./" + quote(path.relative_to(run).as_posix())  # "./": a name with a colon must not become a scheme


def size(paths: Iterable[Path]) -> str:
    """How large files are together, in words."""
    total = sum(path.stat().st_size for path in paths)
    if total >= 1e6:
        return f"{total / 1e6:.1f} MB"
    return f"{total / 1e3:.0f} kB" if total >= 1e3 else f"{total} B"
