"""The built-in hypernymy pairs: reproducible from their source, balanced, and free of contradictions."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest


def load_script() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "scripts" / "make_hypernymy.py"
    spec = importlib.util.spec_from_file_location("make_hypernymy", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


script = load_script()
CATEGORIES = script.read_source()
TEXT = script.PAIRS.read_bytes().decode("ascii")  # not ASCII: an error here
ROWS = [tuple(line.split("\t")) for line in TEXT.splitlines()]
OWN = {member: name for name, kind in CATEGORIES.items() for member in kind.typical + kind.atypical}

# Plurals without a final s.
IRREGULAR = {
    "trout",
    "salmon",
    "shrimp",
    "krill",
    "lice",
    "mice",
    "woodlice",
    "dormice",
    "nebulae",
    "denarii",
    "lieder",
}


def looks_plural(member: str) -> bool:
    head = member.removesuffix("-in-law").split()[-1]
    return head in IRREGULAR or head.endswith("men") or (head.endswith("s") and not head.endswith("ss"))


def test_file_is_what_the_source_gives() -> None:
    assert script.render(script.make_pairs(CATEGORIES)) == TEXT


def test_check_mode_tells_a_stale_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["make_hypernymy.py", "--check"])
    assert script.main() == 0
    stale = tmp_path / "hypernymy.tsv"
    stale.write_text(TEXT.replace("yes", "no", 1))
    monkeypatch.setattr(script, "PAIRS", stale)
    assert script.main() == 1
    assert "out of date" in capsys.readouterr().err


def test_rows_are_clean() -> None:
    assert TEXT.endswith("\n")
    assert "\r" not in TEXT
    assert {len(row) for row in ROWS} == {4}
    assert all(cell == " ".join(cell.split()) and cell for row in ROWS for cell in row)
    assert {row[2] for row in ROWS} == {"yes", "no"}
    assert {row[3] for row in ROWS} == {"high", "low"}
    assert len({row[:2] for row in ROWS}) == len(ROWS)


def test_four_cells_are_equal() -> None:
    assert len(CATEGORIES) >= 44
    assert len(ROWS) >= 1600
    cells = Counter(row[2:] for row in ROWS)
    assert len(cells) == 4
    assert len(set(cells.values())) == 1


def test_no_word_alone_tells_the_answer() -> None:
    by_category: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    by_member: dict[str, list[str]] = defaultdict(list)
    for member, category, taxonomic, similarity in ROWS:
        by_category[category][taxonomic, similarity] += 1
        by_member[member].append(taxonomic)
    assert set(by_category) == set(CATEGORIES)
    assert all(len(cells) == 4 and len(set(cells.values())) == 1 for cells in by_category.values())
    assert set(by_member) == set(OWN)
    assert all(sorted(answers) == ["no", "yes"] for answers in by_member.values())


def test_typical_members_do_not_hint_at_similar_noes() -> None:
    typical = {member for kind in CATEGORIES.values() for member in kind.typical}
    noes = Counter((row[0] in typical, row[3]) for row in ROWS if row[2] == "no")
    assert len(set(noes.values())) == 1


def test_any_stretch_of_rows_is_a_fair_sample() -> None:
    for start in range(0, len(ROWS) - 400, 400):
        stretch = ROWS[start : start + 400]
        assert abs(sum(row[2] == "yes" for row in stretch) / 400 - 0.5) < 0.1
        assert len({row[1] for row in stretch}) > 0.8 * len(CATEGORIES)


def test_answers_follow_the_source() -> None:
    for member, category, taxonomic, similarity in ROWS:
        kind = CATEGORIES[OWN[member]]
        if taxonomic == "yes":
            assert category == OWN[member]
            assert member in (kind.typical if similarity == "high" else kind.atypical)
            continue
        assert category not in (OWN[member], *kind.also, *kind.tasteless), (member, category)
        if similarity == "high":
            assert category in kind.near, (member, category)
        else:
            assert category not in kind.near
            assert OWN[member] not in CATEGORIES[category].near
            assert CATEGORIES[category].group != kind.group


def test_wrong_answers_vary() -> None:
    for similarity, most in (("high", 8), ("low", 2)):
        times = Counter((OWN[row[0]], row[1]) for row in ROWS if row[2:] == ("no", similarity))
        assert max(times.values()) <= most


def test_members_are_plural_and_unique() -> None:
    members = [member for kind in CATEGORIES.values() for member in kind.typical + kind.atypical]
    assert len({member.lower() for member in members}) == len(members)
    assert [member for member in members if not looks_plural(member)] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"typical": ["robins"] * 10}, "'robins' is already in [bird]"),
        ({"typical": ["robins", "wrens"]}, "2 members, fewer than 9"),
        ({"atypical": [f"birds of kind {i}s" for i in range(12)]}, "12 members, while other lists have 10"),
        ({"atypical": ["  emus"] * 10}, "stray white space"),
        ({"atypical": ["bluebirds"] * 10}, "'bluebirds' spells out the category 'bird'"),
        ({"atypical": ["hot dogs"] * 10}, "'hot dogs' spells out the category 'dog'"),
        ({"near": ["fsh"]}, "no category is called 'fsh'"),
        ({"near": ["bird"]}, "the category names itself"),
        ({"near": ["fish", "fish"]}, "'fish' is there 2 times"),
        ({"near": ["fish"], "also": ["fish"]}, "'fish' is in near as well"),
        ({"group": "anmial"}, "no other category is in 'anmial'"),
    ],
)
def test_breaches_are_named(change: dict[str, object], message: str) -> None:
    changed = {**CATEGORIES, "bird": replace(CATEGORIES["bird"], **change)}
    assert any("[bird]" in breach and message in breach for breach in script.find_breaches(changed))


def test_unknown_key_and_unbalanced_near_are_errors(tmp_path: Path) -> None:
    source = tmp_path / "categories.toml"
    source.write_text("[bird]\ngruop = 'animal'\n")
    with pytest.raises(script.SourceError, match=r"\[bird\].*gruop"):
        script.read_source(source)
    everyone_wants_one = {"a": ["c"], "b": ["c"], "c": ["a", "b"]}
    with pytest.raises(script.SourceError, match="cannot be balanced"):
        script.match(everyone_wants_one)
