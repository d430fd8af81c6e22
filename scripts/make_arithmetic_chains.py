"""Write src/accord/tasks/data/arithmetic-chains.jsonl: computed questions, each with right and wrong worked solutions.

    python scripts/make_arithmetic_chains.py           write the questions
    python scripts/make_arithmetic_chains.py --check   exit 1 if the file on disk is not what this gives

A question applies three operations to a number. A solution is worked in one of four styles; each style has a right and
a wrong solution of the same length, so that how it is written tells nothing. A wrong one makes one of four mistakes and
is computed on from there; its result is never the right one.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).resolve().parents[1] / "src" / "accord" / "tasks" / "data" / "arithmetic-chains.jsonl"
SEED, QUESTIONS = 0, 120
LARGEST = 400  # of all numbers on the way


class Operation(NamedTuple):
    """What is done to a number."""

    kind: str  # + - *
    operand: int

    def of(self, number: int) -> int:
        """The result."""
        return {"+": number + self.operand, "-": number - self.operand, "*": number * self.operand}[self.kind]


class Step(NamedTuple):
    """One line of a solution; `result` is what it claims."""

    number: int
    operation: Operation
    result: int


Chain = tuple[Operation, ...]
Solution = list[Step]


def make_rows() -> list[dict[str, str | bool]]:
    """All rows, question by question."""
    rng, rows, seen = random.Random(SEED), list[dict[str, str | bool]](), set[str]()
    while len(seen) < QUESTIONS:
        start, chain = rng.randint(3, 30), tuple(_operation(rng) for _ in range(3))
        text = question(start, chain)
        wrong = _wrong(rng, start, chain)
        if text in seen or not _plain(start, chain) or wrong is None:
            continue
        seen.add(text)
        names = rng.sample(list(STYLES), len(STYLES))
        own = [(STYLES[name](solve(start, chain)), True, name) for name in names]
        own += [(STYLES[name](steps), False, mistake) for name, (mistake, steps) in zip(names, wrong, strict=True)]
        for answer, correct, strategy in rng.sample(own, len(own)):
            rows.append({"question": text, "answer": answer, "correct": correct, "strategy": strategy})
    return rows


def question(start: int, chain: Chain) -> str:
    """The question as text."""
    told = {"+": "add {}", "-": "subtract {}", "*": "multiply by {}"}
    first, second, third = (told[operation.kind].format(operation.operand) for operation in chain)
    return f"Start with {start}, {first}, {second}, then {third}. What is the result?"


def solve(start: int, chain: Chain) -> Solution:
    """Each step as it should be."""
    steps: Solution = []
    for operation in chain:
        steps.append(Step(start, operation, operation.of(start)))
        start = steps[-1].result
    return steps


def _operation(rng: random.Random) -> Operation:
    kind = rng.choice("+-*")
    return Operation(kind, rng.randint(2, 5) if kind == "*" else rng.randint(2, 29))


def _plain(start: int, chain: Chain) -> bool:
    """Whether all numbers are positive and small, no two operations are the same, and one multiplies, one does not."""
    numbers = [step.result for step in solve(start, chain)]
    kinds = [operation.kind for operation in chain]
    return min(numbers) > 0 and max(numbers) <= LARGEST and len(set(chain)) == 3 and 0 < kinds.count("*") < 3


def _slip(rng: random.Random, start: int, chain: Chain) -> Solution:
    """One result is off by a little."""
    at, off = rng.randrange(3), rng.choice((-10, -2, -1, 1, 2, 10))
    steps = solve(start, chain[: at + 1])
    steps[at] = steps[at]._replace(result=steps[at].result + off)
    return steps + solve(steps[at].result, chain[at + 1 :])


def _other_number(rng: random.Random, start: int, chain: Chain) -> Solution:
    """One number of the question is read as its neighbour."""
    at = rng.randrange(3)
    operand = max(1, chain[at].operand + rng.choice((-1, 1)))
    return solve(start, (*chain[:at], chain[at]._replace(operand=operand), *chain[at + 1 :]))


def _other_operation(rng: random.Random, start: int, chain: Chain) -> Solution:
    """One operation is taken for another."""
    at = rng.randrange(3)
    kind = {"+": "-", "-": "+", "*": "+"}[chain[at].kind]
    return solve(start, (*chain[:at], chain[at]._replace(kind=kind), *chain[at + 1 :]))


def _other_order(rng: random.Random, start: int, chain: Chain) -> Solution:
    """Two operations that follow each other are exchanged."""
    at = rng.randrange(2)
    return solve(start, (*chain[:at], chain[at + 1], chain[at], *chain[at + 2 :]))


MISTAKES: dict[str, Callable[[random.Random, int, Chain], Solution]] = {
    "slip": _slip,
    "other number": _other_number,
    "other operation": _other_operation,
    "other order": _other_order,
}


def _wrong(rng: random.Random, start: int, chain: Chain) -> list[tuple[str, Solution]] | None:
    """A solution with each mistake, all with positive numbers and results of their own; None if chance gave none."""
    results, found = {solve(start, chain)[-1].result}, []
    for mistake, make in MISTAKES.items():
        steps = make(rng, start, chain)
        if min(step.result for step in steps) <= 0 or steps[-1].result in results:
            return None
        results.add(steps[-1].result)
        found.append((mistake, steps))
    return found


def _equations(steps: Solution) -> Iterator[str]:
    for step in steps:
        yield f"{step.number} {step.operation.kind} {step.operation.operand} = {step.result}"


def _sentences(steps: Solution) -> str:
    return f"{'. '.join(_equations(steps))}. The result is {steps[-1].result}."


def _lines(steps: Solution) -> str:
    lines = [f"{i}) {equation}" for i, equation in enumerate(_equations(steps), start=1)]
    return "\n".join([*lines, f"Result: {steps[-1].result}"])


def _told(steps: Solution) -> str:
    words = {"+": "adding {} gives {}", "-": "subtracting {} gives {}", "*": "multiplying by {} gives {}"}
    parts = [words[step.operation.kind].format(step.operation.operand, step.result) for step in steps]
    return f"From {steps[0].number}, {parts[0]}; {parts[1]}; {parts[2]}. So the result is {steps[-1].result}."


def _in_words(steps: Solution) -> str:
    words = {"+": "plus {}", "-": "minus {}", "*": "times {}"}
    parts = [f"{words[step.operation.kind].format(step.operation.operand)} is {step.result}" for step in steps]
    return f"{steps[0].number} {', '.join(parts)}. That makes {steps[-1].result}."


STYLES: dict[str, Callable[[Solution], str]] = {
    "sentences": _sentences,
    "lines": _lines,
    "told": _told,
    "in words": _in_words,
}


def render() -> str:
    """The text of the file."""
    return "".join(json.dumps(row) + "\n" for row in make_rows())


def main() -> int:
    """Write or check the file; the exit code."""
    parser = argparse.ArgumentParser(description="Regenerate the built-in arithmetic chains.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file would change")
    text = render()
    if parser.parse_args().check:
        if DATA.exists() and DATA.read_bytes() == text.encode():
            return 0
        print(f"{DATA.name} is out of date: run python scripts/make_arithmetic_chains.py", file=sys.stderr)
        return 1
    DATA.write_bytes(text.encode())
    print(f"{text.count(chr(10))} solutions of {QUESTIONS} questions, seed {SEED}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
