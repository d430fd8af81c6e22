"""Write src/accord/tasks/data/programs.jsonl: small functions, each with right and wrong bodies.

    python scripts/make_programs.py           write the bodies
    python scripts/make_programs.py --check   exit 1 if the file on disk is not what this gives

The first body of a function says what is right: whether another one is, hand-written or not, is decided by running both
on the tests of the function. Wrong ones are right ones with one operator, comparison or number changed. All are written
by `ast.unparse`, so that style tells nothing.
This script runs the code of `programs.toml`; the package runs none.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import random
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

SOURCE = Path(__file__).parent / "programs.toml"
DATA = Path(__file__).resolve().parents[1] / "src" / "accord" / "tasks" / "data" / "programs.jsonl"
SEED = 0
WRONG, FEWEST_WRONG = 4, 3  # bodies of a function
_MOST_LINES = 20_000  # run in a test, beyond which a body has no end

_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Mod: ast.FloorDiv,
    ast.FloorDiv: ast.Mod,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
}
_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_NAMES = {"max": "min", "min": "max", "all": "any", "upper": "lower"}


class Function(NamedTuple):
    """One function of the source."""

    head: str  # of its definition
    doc: str
    bodies: list[str]
    tests: list[list[Any]]  # arguments of each


class SourceError(Exception):
    """A body that is meant to be right is not, or a function has too few wrong ones."""


def read_source(path: Path = SOURCE) -> list[Function]:
    """The functions."""
    return [Function(**table) for table in tomllib.loads(path.read_text(encoding="utf-8"))["function"]]


def make_rows(functions: list[Function]) -> list[dict[str, str | bool]]:
    """All rows, function by function."""
    rng, rows = random.Random(SEED), list[dict[str, str | bool]]()
    for function in functions:
        right = [_tidy(function, body) for body in function.bodies]
        for body in right:
            if not passes(function, body):
                raise SourceError(f"{function.head}: this body fails its tests:\n{body}")
        renamed = _renamed(function, right[0])
        right += [renamed] if renamed not in right and passes(function, renamed) else []
        wrong = _wrong(rng, function, right)
        own = [(body, True, "by hand") for body in right[:3]] + [(body, True, "renamed") for body in right[3:]]
        own += [(body, False, how) for body, how in wrong]
        for body, correct, strategy in rng.sample(own, len(own)):
            prompt = f'def {function.head}:\n    """{function.doc}"""'
            rows.append({"prompt": prompt, "response": body, "correct": correct, "strategy": strategy})
    return rows


def passes(function: Function, body: str) -> bool:
    """Whether a body gives what the function's first body gives, on every test."""
    return _results(function, body) == _results(function, _tidy(function, function.bodies[0]))


def _results(function: Function, body: str) -> list[Any]:
    """What a body gives on each test, with its type: 1 and True are not the same; the name of the error it ends in."""
    name, results = function.head.partition("(")[0], list[Any]()
    for arguments in function.tests:
        namespace: dict[str, Any] = {}
        exec(f"def {function.head}:\n{body}", namespace)
        lines = 0

        def count(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal lines
            lines += event == "line"
            if lines > _MOST_LINES:
                raise TimeoutError
            return count

        sys.settrace(count)
        try:
            result = namespace[name](*copy.deepcopy(arguments))
            results.append((type(result).__name__, repr(result)))
        except Exception as error:
            results.append(type(error).__name__)
        finally:
            sys.settrace(None)
    return results


def _tree(function: Function, body: str) -> ast.FunctionDef:
    (tree,) = ast.parse(f"def {function.head}:\n{textwrap.indent(textwrap.dedent(body), '    ')}").body
    assert isinstance(tree, ast.FunctionDef)
    return tree


def _written(tree: ast.FunctionDef) -> str:
    return textwrap.indent("\n".join(ast.unparse(statement) for statement in tree.body), "    ")


def _tidy(function: Function, body: str) -> str:
    return _written(_tree(function, body))


def _renamed(function: Function, body: str) -> str:
    """The body with its own names changed: those that it gives values to."""
    tree = _tree(function, body)
    given = {argument.arg for argument in tree.args.args}
    stored = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    fresh = dict(zip(dict.fromkeys(name for name in stored if name not in given), "xyzuvw", strict=False))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = fresh.get(node.id, node.id)
    return _written(tree)


def _wrong(rng: random.Random, function: Function, right: list[str]) -> list[tuple[str, str]]:
    """Bodies with a change that the tests notice, and what was changed: as evenly of all right bodies as there are."""
    queues = []
    for body in right:
        mutants = [each for each in _mutants(function, body) if each[0] not in right and not passes(function, each[0])]
        queues.append(rng.sample(mutants, len(mutants)))
    found: dict[str, str] = {}
    while len(found) < WRONG and any(queues):
        for queue in queues:
            if queue and len(found) < WRONG:
                body, how = queue.pop()
                found.setdefault(body, how)
    if len(found) < FEWEST_WRONG:
        raise SourceError(f"{function.head}: only {len(found)} wrong bodies")
    return list(found.items())


def _mutants(function: Function, body: str) -> Iterator[tuple[str, str]]:
    """The body with a single change, for each place and change there is."""
    places = len(list(ast.walk(_tree(function, body))))
    for place in range(places):
        for variant in range(2):
            tree = _tree(function, body)
            how = _changed(list(ast.walk(tree))[place], variant)
            if how:
                yield _written(tree), how


def _changed(node: ast.AST, variant: int) -> str:
    """Change a node in place; what was changed, or nothing."""
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _OPERATORS and not variant:
        node.op = _OPERATORS[type(node.op)]()
        return "operator"
    if isinstance(node, ast.Compare) and variant < len(others := _COMPARISONS.get(type(node.ops[0]), ())):
        node.ops[0] = others[variant]()
        return "comparison"
    if isinstance(node, ast.Constant) and type(node.value) is int:
        node.value += (1, -1)[variant]
        return "number"
    if isinstance(node, ast.Constant) and isinstance(node.value, bool) and not variant:
        node.value = not node.value
        return "truth"
    if isinstance(node, ast.Name) and node.id in _NAMES and not variant:
        node.id = _NAMES[node.id]
        return "function"
    if isinstance(node, ast.Attribute) and node.attr in _NAMES and not variant:
        node.attr = _NAMES[node.attr]
        return "function"
    return ""


def render(functions: list[Function]) -> str:
    """The text of the file."""
    return "".join(json.dumps(row) + "\n" for row in make_rows(functions))


def main() -> int:
    """Write or check the file; the exit code."""
    parser = argparse.ArgumentParser(description="Regenerate the built-in programs.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file would change")
    check: bool = parser.parse_args().check
    functions = read_source()
    try:
        text = render(functions)
    except SourceError as error:
        print(error, file=sys.stderr)
        return 1
    if check:
        if DATA.exists() and DATA.read_bytes() == text.encode():
            return 0
        print(f"{DATA.name} is out of date: run python scripts/make_programs.py", file=sys.stderr)
        return 1
    DATA.write_bytes(text.encode())
    print(f"{text.count(chr(10))} bodies of {len(functions)} functions, seed {SEED}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
