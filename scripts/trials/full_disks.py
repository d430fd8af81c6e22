"""Run a tiny study on disks of random sizes that fill while it runs, then go on with room, and compare the results.

    python scripts/trials/full_disks.py 30          # as root: the disks are of memory (tmpfs)

Counted are runs that were refused before they began, that stopped and said that the disk is full (with place, need and
what is free), and that ended; and what must not be: other errors, half-made folders, other results afterwards. Who is
not root has no file larger than a random size instead (RLIMIT_FSIZE), which stands for a full disk.
"""

import errno
import json
import os
import random
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tiny_study import begin, choices, different, ended, half_made, prepare

_TOLD = ("error: The disk is full.", "  where:", "  got:", " free", "  wanted: more than", "  fix:")
_REFUSED = "This run needs about"


def main() -> None:
    """Run the trials and print the counts."""
    asked = choices(__doc__)
    draw, counts = random.Random(asked.seed), Counter[str]()
    with TemporaryDirectory() as passing:
        study, whole = prepare(Path(passing)), Path(passing) / "whole" / "run"
        said = Path(passing) / "said"
        if ended(begin(said, "run", study, "--out", whole), 3600) != 0:
            sys.exit(said.read_text())
        size = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())
        print(f"undisturbed: {size / 1e6:.1f} MB", flush=True)
        for number in range(asked.rounds):
            room = int(draw.uniform(0.02, 1.3) * size)
            with _disk(Path(passing) / f"disk-{number}", room) as disk:
                found = _round(study, disk, said)
                disk.widen()
                code = ended(begin(said, "run", study, "--out", disk.folder), 3600)
                found["failed with room"] += code != 0
                if differ := different(disk.folder, whole):
                    found["other results"] += 1
                    print(differ, file=sys.stderr, flush=True)
            counts.update(found)
            print(f"round {number}, {room / 1e6:.2f} MB: {json.dumps(+found)}", flush=True)
    print(json.dumps({"rounds": asked.rounds, **dict(sorted(counts.items()))}, indent=2))


class Disk:
    """A folder with so much room, and later with enough."""

    def __init__(self, place: Path, room: int) -> None:
        self.place, self.room, self.folder = place, room, place / "run"
        place.mkdir()
        self.mounted = os.geteuid() == 0
        if self.mounted:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room // 1024}k", "tmpfs", place], check=True)

    def widen(self) -> None:
        """Give it room."""
        if self.mounted:
            subprocess.run(["mount", "-o", "remount,size=1g", self.place], check=True)
        self.room = resource.RLIM_INFINITY

    def close(self) -> None:
        """Take it away."""
        if self.mounted:
            subprocess.run(["umount", self.place], check=True)


@contextmanager
def _disk(place: Path, room: int) -> Iterator[Disk]:
    disk = Disk(place, room)
    try:
        yield disk
    finally:
        disk.close()


def _round(study: Path, disk: Disk, said: Path) -> Counter[str]:
    """What came of a run on a disk that may fill."""
    found: Counter[str] = Counter(
        {"other errors": 0, "half-made folders": 0, "other results": 0, "failed with room": 0}
    )
    limit = None if disk.mounted else min(disk.room, 300_000)
    code = ended(begin(said, "run", study, "--out", disk.folder, most=limit), 3600)
    told = said.read_text()
    if code == 0:
        found["ended"] += 1
    elif _REFUSED in told:
        found["refused before"] += 1
    elif code == 1 and all(words in told for words in _TOLD) and "Traceback" not in told:
        found["said that the disk is full"] += 1
    elif limit is not None and os.strerror(errno.EFBIG) in told and "a bug" not in told:
        found["said that the file is too large"] += 1
    else:
        found["other errors"] += 1
        print(told[-2000:], file=sys.stderr, flush=True)
    found["half-made folders"] += half_made(disk.folder)
    return found


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
