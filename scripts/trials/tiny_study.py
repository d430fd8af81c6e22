"""A study of a tiny random model, for trials of what can go wrong while it runs; needs no network."""

import argparse
import faulthandler
import hashlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path

TEXTS = ("the film was a quiet joy from its first scene on", "nobody in this room has laughed for an hour", "a bird")
_STUDY = """
name = "trial"
[backbone]
model = "model"
device = "cpu"
[[gap]]
task = "pairs.toml"
split = "all"
layers = true
limit = 200
[[repair]]
kind = "rankalign"
steps = 5
batch = 8
limit = 40
checkpoint_every = 2
allow_low_mass = true
[text]
source = "texts.jsonl"
max_tokens = 4000
held_out_tokens = 800
[[concepts]]
kind = "topk"
size = 64
k = 8
training = { steps = 60, batch = 256, evaluate_every = 20, checkpoint_every = 20 }
[[heads]]
kind = "new"
reads = "latents"
vocabulary = "observed"
training = { steps = 20, batch = 64, evaluate_every = 10 }
"""
_TASK = 'data = "pairs.csv"\ngenerator = "{One} is a"\nvalidator = "Is {one} a {two}?"\nanswer = "two"\ngold = "same"\n'
# What is another in every run.
_CHANGING = ("digest", "seconds", "started", "finished", "command", "sha256", "bytes", "path", "files")


def choices(about: str) -> argparse.Namespace:
    """What the command line asks for: `rounds` and `seed`."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("rounds", type=int, nargs="?", default=15)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def prepare(folder: Path) -> Path:
    """Write model, data and study into a folder; the study's path."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tests.tiny import tiny_model, tiny_tokenizer

    tiny_model().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    words = [f"{a}{b}" for a in "abcdefghijklmnopqrst" for b in ("nt", "ee", "ow")]
    rows = [f"{a},{b},{'yes' if a[0] == b[0] else 'no'}" for a in words for b in words[::7]]
    (folder / "pairs.csv").write_text("\n".join(["one,two,same", *rows]) + "\n")
    (folder / "pairs.toml").write_text(_TASK)
    texts = (f"{i} {TEXTS[i % 3]} and {TEXTS[i % 2]}" for i in range(200))
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "study.toml").write_text(_STUDY)
    return folder / "study.toml"


def begin(said: Path, *words: object, most: int | None = None) -> int:
    """Begin the command `accord` in a process of its own, which has torch already; its id. It writes into `said`.

    Args:
        most: bytes of the largest file that it may write.
    """
    import accord.heads.folder
    import accord.repair.loop
    import accord.study.engine  # noqa: F401 - imported here, where it is imported once
    from accord import signals
    from accord.__main__ import main

    sys.stdout.flush()
    if process := os.fork():
        return process
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # ignored, where a shell began the trials in its background
    signals.install()
    code = 1
    try:
        with said.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)  # a process that hangs can be asked where
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
        if most is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        sys.argv = ["accord", *map(str, words)]
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def ended(process: int, seconds: float) -> int | None:
    """The exit code of a process, as soon as it has ended; None if it still runs after so many seconds."""
    upto = time.monotonic() + seconds
    while time.monotonic() < upto:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return None


def half_made(folder: Path) -> int:
    """Stages of a run that are in their place and not whole."""
    count = 0
    for path in folder.rglob("manifest.json"):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            files = json.loads(path.read_text(encoding="utf-8"))["files"]
            count += any(not (path.parent / name).is_file() for name in files)
    return count


def different(one: Path, other: Path) -> list[str]:
    """The files of two runs' stages that are not the same, but for what differs between runs that do the same."""
    here, there = _hashes(one), _hashes(other)
    return sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))


def _hashes(folder: Path) -> dict[str, str]:
    stages = [path.parent for path in folder.rglob("manifest.json") if "/." not in f"/{path.relative_to(folder)}"]
    files = (path for stage in stages for path in stage.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): _hash(path) for path in files}


def _hash(path: Path) -> str:
    if path.suffix not in (".json", ".jsonl"):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    lines = path.read_text(encoding="utf-8").splitlines() if path.suffix == ".jsonl" else [path.read_text("utf-8")]
    plain = [_plain(json.loads(line)) for line in lines]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _plain(content: object) -> object:
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items() if key not in _CHANGING}
    return [_plain(value) for value in content] if isinstance(content, list) else content
