"""What stages cost: seconds that one is expected to take, from what runs on this machine took before."""

from functools import cache
from pathlib import Path
from statistics import median

from accord.study.stage import Stage
from accord.study.store import MANIFEST, read_manifest


def expected(stage: Stage) -> float | None:
    """Seconds that a stage is expected to take; None where nothing like it was measured."""
    measured = _measured(Path("runs").absolute())
    return measured.get(stage.name, measured.get(stage.kind))


@cache
def _measured(folder: Path) -> dict[str, float]:
    """Seconds by the name and by the kind of the stages in all runs in a folder, medians."""
    seconds: dict[str, list[float]] = {}
    for path in (*folder.glob(f"*/*/{MANIFEST}"), *folder.glob(f"*/*/*/{MANIFEST}")):
        manifest = read_manifest(path.parent) or {}
        if isinstance(took := manifest.get("seconds"), int | float):
            for key in {str(manifest.get("stage")), str(manifest.get("name"))}:
                seconds.setdefault(key, []).append(float(took))
    return {key: median(took) for key, took in seconds.items()}
