"""Flip one bit in each file of a run, and bits of its manifests, and see what accord says of it.

    python scripts/trials/bit_flips.py runs/demo --manifest-bits 200

Each fault is made in a copy, then undone. Of every one it is counted whether `accord check` finds it, whether anything
crashes (an exception that is no AccordError), and whether a number that the sound run does not have is printed by
`accord runs` or in the page. A page takes seconds: `--pages` says for how many of the faults it is written.
"""

import argparse
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accord.errors import AccordError
from accord.report import write_report
from accord.study.check import check
from accord.study.run_list import LIST
from accord.study.run_status import status

_NUMBER = re.compile(r"\d*\.\d+")  # as measures are written
_UNTOLD = re.compile(r"<(svg|style|script)\b.*?</\1>|<p class=\"coming.*?</p>|<[^>]*>", re.DOTALL)


def main() -> int:
    """Exit code 1 if a fault was missed, crashed anything, or had a wrong number printed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--manifest-bits", type=int, default=200, help="random bits of manifests and of the run's list")
    parser.add_argument("--pages", type=int, default=20, help="faults of which the page is written")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no fault is begun after these")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        run = Path(passing) / "run"
        shutil.copytree(options.run, run)
        if problems := check(run):
            print(f"this run is damaged already: {problems[0].path}: {problems[0].what}")
            return 1
        trial = _Trial(run, random.Random(options.seed), until=time.monotonic() + options.seconds)
        counts = trial.all(options.manifest_bits, options.pages)
    for name, count in sorted(counts.items()):
        print(f"{name}: {count}")
    return 1 if any(counts[bad] for bad in ("missed", "crashed", "wrong number printed")) else 0


class _Trial:
    def __init__(self, run: Path, draw: random.Random, until: float) -> None:
        self.run, self.draw, self.until = run, draw, until
        self.numbers = _numbers(write_report(run))
        self.headline = status(run).finding
        self.counts: Counter[str] = Counter()

    def all(self, manifest_bits: int, pages: int) -> Counter[str]:
        """What became of every fault."""
        files = [path for path in sorted(self.run.rglob("*")) if path.is_file() and "export" not in path.parts]
        covers = [path for path in files if path.name in ("manifest.json", LIST)]
        flips = [path for path in files if path.stat().st_size]
        flips += [self.draw.choice(covers) for _ in range(manifest_bits)]
        self.draw.shuffle(flips)
        drawn = set(self.draw.sample(range(len(flips)), min(pages, len(flips))))
        for i, path in enumerate(flips):
            if time.monotonic() > self.until:
                self.counts["left out for want of time"] = len(flips) - i
                break
            bit = self.draw.randrange(8 * path.stat().st_size)
            with _flipped(path, bit):
                self._try(path, bit, page=i in drawn)
        return self.counts

    def _try(self, path: Path, bit: int, *, page: bool) -> None:
        self.counts["flips"] += 1
        name = f"{path.relative_to(self.run)}, bit {bit}"
        try:
            found = [problem.path for problem in check(self.run)]
            self._note("found" if any(path == at or at in path.parents for at in found) else "missed", name)
            standing = status(self.run)
            if standing.finding not in ("", self.headline):
                self._note("wrong number printed", f"{name}: {standing.finding}")
            if page:
                self.counts["pages"] += 1
                report = self.run / "report.html"
                with _kept(report):
                    others = _numbers(write_report(self.run)) - self.numbers
                    others -= self._without(path) if others else set()
                if others:
                    self._note("wrong number printed", f"{name}: {sorted(others)[:5]}")
        except AccordError:
            self.counts["refused with an error"] += 1
        except Exception as error:
            self._note("crashed", f"{name}: {type(error).__name__}: {error}")

    def _without(self, path: Path) -> set[str]:
        """The numbers of the page where the stage of a file is not there at all: others may then be told otherwise."""
        stage = next(above for above in path.parents if above == self.run or (above / "manifest.json").exists())
        if stage == self.run:
            return set()
        hidden = self.run.parent / "hidden"
        stage.rename(hidden)
        try:
            return _numbers(write_report(self.run))
        finally:
            hidden.rename(stage)

    def _note(self, what: str, name: str) -> None:
        self.counts[what] += 1
        if what != "found":
            print(f"{what}: {name}", file=sys.stderr)


def _numbers(page: Path) -> set[str]:
    """The numbers that a page tells in words and tables; those of drawings move with whatever is left out."""
    return set(_NUMBER.findall(_UNTOLD.sub(" ", page.read_text(encoding="utf-8"))))


@contextmanager
def _flipped(path: Path, bit: int) -> Iterator[None]:
    """A file with another bit, for a while."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))
    try:
        yield
    finally:
        with path.open("r+b") as file:
            file.seek(bit // 8)
            file.write(bytes([byte]))


@contextmanager
def _kept(path: Path) -> Iterator[None]:
    before = path.read_bytes()
    try:
        yield
    finally:
        path.write_bytes(before)


if __name__ == "__main__":
    sys.exit(main())
