"""Stop a tiny study at random moments, again and again, and compare what it ends with with an undisturbed run.

    python scripts/trials/kills.py 30

A round begins a run, and stops it after a random time by kill -9, SIGINT (once, or three times in a row) or SIGTERM,
as often as it takes until one run ends by itself. Counted are rounds whose results differ from the undisturbed ones,
half-made folders, tracebacks, signals that were not heard, and runs that called something a bug.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from tiny_study import begin, choices, different, ended, half_made, prepare

SIGNALS = {"kill": [signal.SIGKILL], "int": [signal.SIGINT], "int x3": [signal.SIGINT] * 3, "term": [signal.SIGTERM]}
_HEARD = 60.0  # seconds in which a signal must have ended a run


def main() -> None:
    """Run the trials and print the counts."""
    asked = choices(__doc__)
    draw, counts = random.Random(asked.seed), Counter[str]()
    with TemporaryDirectory() as passing:
        study = prepare(Path(passing))
        begun = time.monotonic()
        whole = begin(Path(passing) / "said", "run", study, "--out", Path(passing) / "whole")
        if ended(whole, 3600) != 0:
            sys.exit((Path(passing) / "said").read_text())
        took = time.monotonic() - begun
        print(f"undisturbed: {took:.0f} s", flush=True)
        for number in range(asked.rounds):
            found = _round(study, Path(passing) / f"run-{number}", took, draw)
            if differ := different(Path(passing) / f"run-{number}", Path(passing) / "whole"):
                found["other results"] += 1
                print(differ, file=sys.stderr, flush=True)
            counts.update(found)
            print(f"round {number}: {json.dumps(+found)}", flush=True)
    print(json.dumps({"rounds": asked.rounds, **dict(sorted(counts.items()))}, indent=2))


def _round(study: Path, folder: Path, took: float, draw: random.Random) -> Counter[str]:
    """Stop runs until one ends; what was found."""
    found = Counter(dict.fromkeys(("other results", "tracebacks", "not heard", "called a bug", "failed"), 0))
    told = folder.with_suffix(".said")
    while True:
        process = begin(told, "run", study, "--out", folder)
        code = ended(process, draw.random() * took)
        if code is not None:
            found["failed"] += code != 0
            _look(told.read_text(), found)
            return found
        name, sent = draw.choice(list(SIGNALS)), time.monotonic()
        found[f"stopped by {name}"] += 1
        for number in SIGNALS[name]:
            with suppress(ProcessLookupError):  # it has ended, and waits to be asked how
                os.kill(process, number)
            time.sleep(0.02)
        code = ended(process, _HEARD)
        if code is None:
            os.kill(process, signal.SIGUSR1)  # it tells where it is
            time.sleep(1)
            print(told.read_text(), file=sys.stderr, flush=True)
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        wanted = -signal.SIGKILL if name == "kill" else 128 + SIGNALS[name][0]
        if code not in (wanted, 0):  # 0: it had ended by then
            found["not heard"] += 1
            print(f"{name}: {code} after {time.monotonic() - sent:.0f} s", file=sys.stderr, flush=True)
        _look(told.read_text(), found)
        found["half-made folders"] += half_made(folder)


def _look(said: str, found: Counter[str]) -> None:
    found["tracebacks"] += "Traceback" in said
    found["called a bug"] += "a bug in accord" in said
    if "Traceback" in said or "error" in said:
        print(said[-1500:], file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
