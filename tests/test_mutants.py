"""What `make mutants` leaves out is still there to be left out, and what it mutates is the code."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]

DECORATED = '''
from functools import cache

def twice(times):
    return lambda f: lambda *a: f(*a) * times

class A:
    """Doc."""
    x: int = 3

    @property
    def value(self):
        return self.x

    @classmethod
    def made(cls): return cls()

    @staticmethod
    @twice(
        2
    )
    def double(y):
        """Doc."""
        return y

@cache
@twice(times=5)
def five(y): return y
'''


@pytest.fixture(scope="module")
def mutants() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "scripts" / "mutants.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_code_without_decorators_does_the_same(mutants: ModuleType) -> None:
    plain = mutants.without_decorators(DECORATED)
    assert [line.strip() for line in plain.splitlines() if line.strip().startswith("@")] == ["@classmethod"]
    made: dict[str, object] = {}
    exec(plain, made)
    a = made["A"].made()  # type: ignore[attr-defined]
    assert (a.value, a.double(4), made["five"](2)) == (3, 8, 10)  # type: ignore[operator]
    assert made["five"].cache_info().misses == 1  # type: ignore[attr-defined]


def test_a_change_is_told_on_one_line(mutants: ModuleType) -> None:
    head = "# name: survived\n--- a\n+++ a\n@@ -1 +1 @@\n def f(x):\n"
    shown = f"{head}-    a = (x +\n-        1)\n+    a = None\n     return a"
    told = mutants.change("accord.gap.metrics.xǁGapǁf__mutmut_3", shown)
    assert told == "gap.metrics.Gap.f\ta = (x + 1)\ta = None"


def test_equivalent_mutants_are_of_code_that_stands_there(mutants: ModuleType) -> None:
    rows = [line.split("\t") for line in mutants.EQUIVALENT.read_text(encoding="utf-8").splitlines()[1:]]
    assert {len(row) for row in rows} == {4} and len(rows) == len(mutants.equivalents())
    for function, old, _, _ in rows:
        parts = function.split(".")
        path = next(
            p for n in (1, 2, 3) if (p := (ROOT / "src" / "accord").joinpath(*parts[:n]).with_suffix(".py")).exists()
        )
        source = " ".join(path.read_text(encoding="utf-8").split())
        assert " ".join(old.split()) in source, f"{function}: {old}"
