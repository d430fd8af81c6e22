"""Are the files of a run still those that accord wrote?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.arguments import checked
from accord.disk import sha256
from accord.errors import AccordError
from accord.study.run_folder import Run
from accord.study.store import MANIFEST, files_of, read_manifest
from accord.unfinished import check_finished


@dataclass(frozen=True)
class Problem:
    """One file or folder that is not as it was written."""

    path: Path
    what: str


def stage_folders(folder: Path) -> list[Path]:
    """The whole stage folders in a run folder, or `folder` itself if it is one; sorted by path."""
    folders = [manifest.parent for manifest in folder.rglob(MANIFEST)]
    return sorted(path for path in folders if not any(part.startswith(".") for part in path.relative_to(folder).parts))


@checked
def check(folder: Path) -> list[Problem]:
    """Compare every file of a run folder or stage folder with the hashes in the manifests.

    Raises AccordError if there is no stage folder in `folder`.
    """
    stages = stage_folders(folder)
    unfinished = sorted(path for path in folder.rglob(".*.partial") if path.is_dir())
    if not stages and not unfinished:
        check_finished(folder)
        raise AccordError(
            "There are no results here.",
            where=folder,
            wanted=f"a run folder of accord run, or a folder of accord gap --out (they hold a {MANIFEST})",
        )
    problems = [problem for stage in stages for problem in _check_stage(stage)]
    if not (folder / MANIFEST).is_file() and not problems:
        other = "made from other results than those that are here now: accord run STUDY.toml --replace makes it again"
        problems += [Problem(folder / name, other) for name in Run(folder).outdated]
    return problems + [Problem(path, "unfinished: the same command again goes on from it") for path in unfinished]


def _check_stage(folder: Path) -> list[Problem]:
    manifest = read_manifest(folder)
    if manifest is None:
        return [Problem(folder / MANIFEST, "unreadable")]
    listed: dict[str, Any] = manifest["files"]
    present = set(files_of(folder))
    problems = [Problem(folder / name, "missing") for name in listed if name not in present]
    problems += [Problem(folder / name, "not written by accord") for name in sorted(present - listed.keys())]
    for name in sorted(present & listed.keys()):
        if sha256(folder / name) != listed[name]["sha256"]:
            problems.append(Problem(folder / name, "changed"))
    return problems
