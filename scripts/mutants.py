"""Which small changes of the code no test notices: mutation testing with mutmut, a folder of the package at a time.

    make mutants                                a sample of each folder
    make mutants ONLY=gap                       a sample of one folder
    make mutants ONLY="gap --sample 0"          all mutants of a folder (hours)
    make mutants ONLY=concepts/topk             all mutants of a module
    make mutants ONLY="lm/scoring lm/tail"      all mutants of two

mutmut changes one thing in one function (+ to -, < to <=, an argument to None, ...), runs the tests of that folder
that reach the function, quick ones first, and stops at the first that fails: the mutant is killed. What survives is
printed as a difference, unless scripts/equivalent_mutants.tsv says why nobody could notice it. Everything happens in a
copy, in build/mutants; remove it after changes to what tests share, as it remembers which test reaches which function.
"""

import argparse
import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scipy.stats import binomtest

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "mutants"
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.tsv")
COPIED = ("tests", "scripts", "studies", "examples", "benchmarks", "docs", "Makefile", "README.md")
# What `mutmut run` begins with, as the sample is drawn from the mutants' names.
MAKE = "from mutmut import __main__ as m; m.copy_src_dir(); m.copy_also_copy_files(); m.create_mutants(1)"

# Of `repair`, what losses and scores are made of.
ROOMS: dict[str, tuple[str, ...]] = {
    "lm": ("*",),
    "tasks": ("*",),
    "gap": ("*",),
    "concepts": ("*",),
    "repair": ("rankalign", "sft", "dpo", "consistency", "scores", "targets", "loop"),
    "verdict": ("*",),
}
# Colours, layout and options are looked at, not computed with; what commands print is tested in folders of their own.
DRAWN = ("page", "figures", "draw_*", "command", "glossary", "preview")
# Its functions run while modules load, before mutmut puts a mutant in place: none could be killed.
LOADED = ("sample",)
# Lines that only say what is wrong. That an error comes is tested, and its words where they carry numbers.
WORDS = [r"AccordError\(", r"\braise \w+\(", r"progress\.\w+\("]


def main() -> None:
    """Test the mutants asked for, and print what survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", default=list(ROOMS), help="folders (gap) or modules (gap/metrics)")
    parser.add_argument("--sample", type=int, help="mutants drawn; 0 for all; default: 40 of a folder, all of modules")
    parser.add_argument("--tests", nargs="*", help="test files, if not all of the folder's")
    arguments = parser.parse_args()
    asked: dict[str, list[str]] = {}
    for place in arguments.only:
        room, _, module = place.partition("/")
        if room not in ROOMS:
            parser.error(f"no such folder here: {room}; there are {', '.join(ROOMS)}")
        asked.setdefault(room, []).extend([module] if module else [])
    known, lines, left = equivalents(), [], 0
    for room, modules in asked.items():
        start = time.monotonic()
        prepare(room, modules or ROOMS[room], arguments.tests or [f"tests/{room}"])
        n = arguments.sample if arguments.sample is not None else 0 if modules else 40
        names = drawn(list(statuses(room)), n)
        said = mutmut(room, "run", "--max-children", "1", *names)
        found = statuses(room)
        if any(found[name] == "not checked" for name in names):
            sys.exit(said)
        alive = [name for name in names if found[name] in ("survived", "no tests")]
        shown = {name: mutmut(room, "show", name) for name in alive}
        excused = {name for name in alive if change(name, shown[name]) in known or _only_strict(shown[name])}
        for name in alive:
            if name not in excused:
                left += 1
                print(shown[name], change(name, shown[name]), sep="\n", flush=True)
        what = " ".join(f"{room}/{module}" for module in modules) or room
        lines.append(told(what, Counter(found[name] for name in names), len(excused), time.monotonic() - start))
    print("\n".join(lines))
    sys.exit(left > 0)


def told(what: str, found: Counter[str], excused: int, seconds: float) -> str:
    """One line: of the mutants that can be killed, the share that is."""
    possible = found.total() - excused
    killed = found.total() - found["survived"] - found["no tests"]
    interval = binomtest(killed, possible).proportion_ci(method="wilson")
    share = f"{killed} of {possible} killed: {killed / possible:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
    each = ", ".join(f"{n} {status}" for status, n in found.most_common())
    return f"{what}: {share}; {excused} more are equivalent ({each}; {seconds:.0f} s)"


def prepare(room: str, modules: Sequence[str], tests: list[str]) -> None:
    """A copy of the project in which mutmut knows what to do, with its mutants made."""
    work = WORK / room
    work.mkdir(parents=True, exist_ok=True)
    sources = {path.relative_to(ROOT) for path in (ROOT / "src").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    for path in [path for path in (work / "src").rglob("*") if path.is_file()]:
        if path.relative_to(work) not in sources:
            path.unlink()
    for path in sources:
        content = (ROOT / path).read_bytes()
        if path.suffix == ".py" and path.parts[2:3] == (room,):
            content = without_decorators(content.decode()).encode()
        if not (work / path).exists() or (work / path).read_bytes() != content:
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_bytes(content)
    for name in COPIED:
        if not (work / name).is_symlink():
            (work / name).symlink_to(ROOT / name)
    shutil.rmtree(work / "mutants" / "tests", ignore_errors=True)
    settings = {
        "only_mutate": [f"src/accord/{room}/{name}.py" for name in modules],
        "do_not_mutate": [f"src/accord/{room}/{name}.py" for name in DRAWN + LOADED],
        "do_not_mutate_patterns": WORDS,
        "also_copy": list(COPIED[1:]),
        "pytest_add_cli_args_test_selection": [*tests, "-m", "not real"],
        # The first collects all garbage, which takes 80 % of a short run.
        "pytest_add_cli_args": ["-p", "no:unraisableexception", "-p", "no:cacheprovider"],
        "process_isolation": "forkserver",  # a fork of a process that has run autograd cannot run it
    }
    table = "\n".join(f"{key} = {json.dumps(value)}" for key, value in settings.items())
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = f"{project}\n[tool.mutmut]\n{table}\nuse_git_change_detection = false\n"
    told = work / "pyproject.toml"
    if not told.exists() or told.read_text(encoding="utf-8") != project:
        shutil.rmtree(work / "mutants", ignore_errors=True)  # mutmut would take files that it did not mutate for done
        told.write_text(project, encoding="utf-8")
    subprocess.run([sys.executable, "-c", MAKE], cwd=work, check=True, stdout=subprocess.DEVNULL)


def without_decorators(source: str) -> str:
    """The same module with `f = d(f)` after `def f` in place of `@d`: mutmut leaves decorated functions alone."""
    lines = source.split("\n")
    bodies = [ast.parse(source).body]
    bodies += [node.body for node in bodies[0] if isinstance(node, ast.ClassDef)]
    functions = [node for body in bodies for node in body if isinstance(node, ast.FunctionDef) and node.decorator_list]
    for node in sorted(functions, key=lambda node: -node.lineno):
        decorators = [ast.get_source_segment(source, decorator) or "" for decorator in node.decorator_list]
        if any(decorator.split(".")[-1] in ("setter", "overload", "abstractmethod") for decorator in decorators):
            continue
        if decorators in (["staticmethod"], ["classmethod"]):
            continue  # mutmut knows these
        indent = " " * node.col_offset
        after = [f"{indent}{node.name} = {decorator}({node.name})" for decorator in reversed(decorators)]
        first = node.decorator_list[0].lineno - 1
        lines[first : node.end_lineno] = [*lines[node.lineno - 1 : node.end_lineno], *after]
    return "\n".join(lines)


def drawn(names: list[str], n: int) -> list[str]:
    """n of the mutants, or all: by the hash of their names, so that most stay when code changes."""
    if not names:
        sys.exit("there is nothing to mutate there")
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[: n or None]


def statuses(room: str) -> dict[str, str]:
    """Mutant -> what became of it."""
    pairs = (
        line.strip().rsplit(": ", 1) for line in mutmut(room, "results", "--all", "true").splitlines() if ": " in line
    )
    return dict(pairs)


def equivalents() -> set[str]:
    """The changes that nobody could notice, as `change` writes them."""
    rows = [line.rsplit("\t", 1)[0] for line in EQUIVALENT.read_text(encoding="utf-8").splitlines()]
    return {row for row in rows if not row.startswith("#")}


def change(name: str, shown: str) -> str:
    """A mutant's function, the code that it takes away, and what it puts in its place, with tabs between."""
    function = name.rpartition("__mutmut_")[0].replace(".x_", ".").replace(".x\u01c1", ".").replace("\u01c1", ".")
    return "\t".join([function.removeprefix("accord."), *_sides(shown)])


def _sides(shown: str) -> list[str]:
    lines = shown.splitlines()[4:]  # after what mutmut writes above a difference
    return [" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"]


def _only_strict(shown: str) -> bool:
    """Whether a mutant is lax where a zip is strict: nobody could notice, as long as the lengths are the same."""
    old, new = (re.sub(r"(, )?strict=\w+", "", side).replace(", )", ")") for side in _sides(shown))
    return old == new


def mutmut(room: str, *words: str) -> str:
    """What mutmut says to `words` in the folder's copy."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    environment.pop("PYTHONPATH", None)
    program = Path(sys.executable).with_name("mutmut")
    done = subprocess.run(
        [program, *words], cwd=WORK / room, env=environment, check=False, capture_output=True, text=True
    )
    return done.stdout + done.stderr


if __name__ == "__main__":
    main()
