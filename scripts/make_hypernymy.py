"""Write src/accord/tasks/data/hypernymy.tsv from the hand-written categories next to it.

    python scripts/make_hypernymy.py           rewrite the pairs
    python scripts/make_hypernymy.py --check   exit 1 if the file on disk is not what the source gives

Each member is asked twice: once with its own category (yes) and once with a wrong one (no), so the member
alone tells nothing. Each category is given out as a wrong answer as often as it is a right one, so neither
does the category. Both halves split evenly into high and low similarity.
"""

from __future__ import annotations

import argparse
import random
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).resolve().parents[1] / "src" / "accord" / "tasks" / "data"
SOURCE = DATA / "hypernymy_categories.toml"
PAIRS = DATA / "hypernymy.tsv"
SEED = 0
FEWEST_MEMBERS = 9  # of each list


@dataclass(frozen=True)
class Category:
    group: str
    typical: list[str]
    atypical: list[str]
    near: list[str]
    also: list[str]
    tasteless: list[str] = field(default_factory=list)


class Pair(NamedTuple):
    member: str
    category: str
    taxonomic: str  # yes, no
    similarity: str  # high, low


class SourceError(Exception):
    """The hand-written file breaks a rule; the message lists every breach."""


def read_source(path: Path = SOURCE) -> dict[str, Category]:
    categories = {}
    for name, table in tomllib.loads(path.read_text(encoding="utf-8")).items():
        try:
            categories[name] = Category(**table)
        except TypeError as error:
            raise SourceError(f"[{name}] {error}") from None
    if breaches := find_breaches(categories):
        raise SourceError("\n".join(breaches))
    return categories


def find_breaches(categories: dict[str, Category]) -> list[str]:
    """Everything wrong with the source, one line each."""
    breaches = []
    owner: dict[str, str] = {}
    size = len(next(iter(categories.values())).typical)
    for name, category in categories.items():
        for list_name, members in (("typical", category.typical), ("atypical", category.atypical)):
            # Equal lists everywhere make exact balance possible: see deal().
            if len(members) < FEWEST_MEMBERS:
                breaches.append(f"[{name}] {list_name}: {len(members)} members, fewer than {FEWEST_MEMBERS}")
            elif len(members) != size:
                breaches.append(f"[{name}] {list_name}: {len(members)} members, other lists have {size}")
            for member in members:
                if member != " ".join(member.split()) or not member.isascii():
                    breaches.append(f"[{name}] {list_name}: {member!r} has stray white space or is not ASCII")
                if (first := owner.setdefault(member.lower(), name)) != name:
                    breaches.append(f"[{name}] {list_name}: {member!r} is already in [{first}]")
                elif (category.typical + category.atypical).count(member) > 1:
                    breaches.append(f"[{name}] {list_name}: {member!r} is there twice")
                # Snowstorms are storms by their letters alone; so would hot dogs be dogs.
                for told in (other for other in categories if spells_out(member, other, own=other == name)):
                    breaches.append(f"[{name}] {list_name}: {member!r} spells out the category {told!r}")
        if sum(other.group == category.group for other in categories.values()) == 1:
            breaches.append(f"[{name}] group: no other category is in {category.group!r}; a typing slip?")
        lists = {"near": category.near, "also": category.also, "tasteless": category.tasteless}
        for list_name, others in lists.items():
            breaches += [f"[{name}] {list_name}: no category {other!r}" for other in others if other not in categories]
            if name in others:
                breaches.append(f"[{name}] {list_name}: names itself")
            if len(set(others)) < len(others):
                breaches.append(f"[{name}] {list_name}: a name is there twice")
        breaches += [
            f"[{name}] near: {other!r} is also in {list_name}"
            for list_name in ("also", "tasteless")
            for other in category.near
            if other in lists[list_name]
        ]
    return breaches


def spells_out(member: str, category: str, own: bool) -> bool:
    """Whether a member ends in a category's name: as a word of its own, or, for its own category, at all."""
    return (" " * (not own) + member).endswith(tuple(" " * (not own) + category + plural for plural in ("", "s", "es")))


def far_categories(name: str, categories: dict[str, Category]) -> list[str]:
    """Safe wrong answers of low similarity: another group, and near in neither direction."""
    own = categories[name]
    return [
        other_name
        for other_name, other in categories.items()
        if other.group != own.group
        and other_name not in own.near + own.also + own.tasteless
        and name not in other.near
    ]


def deal(allowed: dict[str, list[str]], rounds: int, rng: random.Random) -> dict[str, list[str]]:
    """Deal each category `rounds` of its allowed wrong answers, so that each is dealt out `rounds` times as well.

    In a round every category gets one and is dealt once. Those a category has had least come first,
    which spreads its wrong answers.
    """
    dealt: dict[str, list[str]] = {name: [] for name in allowed}
    for _ in range(rounds):
        wishes = {
            name: sorted(rng.sample(others, len(others)), key=dealt[name].count)
            for name, others in rng.sample(list(allowed.items()), len(allowed))
        }
        for wrong, name in match(wishes).items():
            dealt[name].append(wrong)
    return dealt


def match(wishes: dict[str, list[str]]) -> dict[str, str]:
    """Perfect matching, wrong category -> the category that gets it, grown by augmenting paths."""
    holder: dict[str, str] = {}

    def place(name: str, tried: set[str]) -> bool:
        for wrong in wishes[name]:
            if wrong not in tried:
                tried.add(wrong)
                if wrong not in holder or place(holder[wrong], tried):
                    holder[wrong] = name
                    return True
        return False

    for name in wishes:
        tried: set[str] = set()
        if not place(name, tried):
            raise SourceError(
                f"[{name}] near: cannot be balanced, too many categories share too few of {sorted(tried)}"
            )
    return holder


def make_pairs(categories: dict[str, Category], seed: int = SEED) -> list[Pair]:
    rng = random.Random(seed)
    size = len(next(iter(categories.values())).typical)
    near = deal({name: category.near for name, category in categories.items()}, size, rng)
    far = deal({name: far_categories(name, categories) for name in categories}, size, rng)
    pairs = []
    for name, category in categories.items():
        typical = rng.sample(category.typical, size)
        atypical = rng.sample(category.atypical, size)
        pairs += [Pair(member, name, "yes", "high") for member in typical]
        pairs += [Pair(member, name, "yes", "low") for member in atypical]
        # Half of either list meets near categories: how typical a member is must not tell how near its "no" is.
        half = size // 2
        asked_near = rng.sample(typical[:half] + atypical[half:], size)
        asked_far = rng.sample(typical[half:] + atypical[:half], size)
        pairs += [Pair(member, wrong, "no", "high") for member, wrong in zip(asked_near, near[name], strict=True)]
        pairs += [Pair(member, wrong, "no", "low") for member, wrong in zip(asked_far, far[name], strict=True)]
    rng.shuffle(pairs)  # so that the first hundred rows are a fair sample
    return pairs


def render(pairs: list[Pair]) -> str:
    return "".join("\t".join(pair) + "\n" for pair in pairs)


def main() -> int:
    parser = argparse.ArgumentParser(description="Regenerate the built-in hypernymy pairs.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file would change")
    check: bool = parser.parse_args().check
    try:
        categories = read_source()
        pairs = make_pairs(categories)
    except SourceError as error:
        print(f"{SOURCE.name}:\n{error}", file=sys.stderr)
        return 1
    text = render(pairs)
    if check:
        if PAIRS.exists() and PAIRS.read_bytes() == text.encode():
            return 0
        print(f"{PAIRS.name} is out of date: run python scripts/make_hypernymy.py", file=sys.stderr)
        return 1
    PAIRS.write_bytes(text.encode())
    cells = Counter((pair.taxonomic, pair.similarity) for pair in pairs)
    print(f"{len(pairs)} pairs of {len(categories)} categories:", dict(cells))
    return 0


if __name__ == "__main__":
    sys.exit(main())
