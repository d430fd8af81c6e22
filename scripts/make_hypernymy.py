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
    """One table of the source; the source explains its fields."""

    group: str
    typical: list[str]
    atypical: list[str]
    near: list[str]
    also: list[str]
    tasteless: list[str] = field(default_factory=list)


class Pair(NamedTuple):
    """One row of the TSV."""

    member: str
    category: str
    taxonomic: str  # yes, no
    similarity: str  # high, low


class SourceError(Exception):
    """The hand-written file breaks a rule; the message lists every breach."""


def read_source(path: Path = SOURCE) -> dict[str, Category]:
    """The categories by name; SourceError if a rule is broken."""
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
    breaches = find_member_breaches(categories)
    groups = Counter(category.group for category in categories.values())
    for name, category in categories.items():
        if groups[category.group] == 1:
            breaches.append(f"[{name}] group: no other category is in {category.group!r}; a typing slip?")
        lists = {"near": category.near, "also": category.also, "tasteless": category.tasteless}
        for list_name, others in lists.items():
            at = f"[{name}] {list_name}:"
            for other, times in Counter(others).items():
                if other not in categories:
                    breaches.append(f"{at} no category is called {other!r}")
                if other == name:
                    breaches.append(f"{at} the category names itself")
                if times > 1:
                    breaches.append(f"{at} {other!r} is there {times} times")
                if list_name != "near" and other in category.near:
                    breaches.append(f"{at} {other!r} is in near as well")
    return breaches


def find_member_breaches(categories: dict[str, Category]) -> list[str]:
    """Lists that are too short or uneven; members that are unclean, not unique, or tell their category."""
    breaches = []
    owner: dict[str, str] = {}
    size = list_length(categories)
    for name, category in categories.items():
        for list_name, members in (("typical", category.typical), ("atypical", category.atypical)):
            at = f"[{name}] {list_name}:"
            if len(members) < FEWEST_MEMBERS:
                breaches.append(f"{at} {len(members)} members, fewer than {FEWEST_MEMBERS}")
            elif len(members) != size:  # exact balance needs equal lists: see deal()
                breaches.append(f"{at} {len(members)} members, while other lists have {size}")
            for member in members:
                if member != " ".join(member.split()) or not member.isascii():
                    breaches.append(f"{at} {member!r} has stray white space or is not ASCII")
                if member.lower() in owner:
                    breaches.append(f"{at} {member!r} is already in [{owner[member.lower()]}]")
                owner[member.lower()] = name
                # Letters alone must not answer: sailboats are boats, and hot dogs would be dogs.
                breaches += [
                    f"{at} {member!r} spells out the category {other!r}"
                    for other in categories
                    if spells_out(member, other, own=other == name)
                ]
    return breaches


def spells_out(member: str, category: str, own: bool) -> bool:
    """Whether a member ends in a category's name: as its last word or, its own category's, even inside it."""
    text, ending = (member, category) if own else (f" {member}", f" {category}")
    return text.endswith((ending, ending + "s", ending + "es"))


def list_length(categories: dict[str, Category]) -> int:
    """How many typical members a category has; all lists are as long as the first."""
    return len(next(iter(categories.values())).typical)


def far_categories(name: str, categories: dict[str, Category]) -> list[str]:
    """Safe wrong answers of low similarity: another group, and near in neither direction."""
    own = categories[name]
    excluded = {*own.near, *own.also, *own.tasteless}
    return [
        other_name
        for other_name, other in categories.items()
        if other.group != own.group and other_name not in excluded and name not in other.near
    ]


def deal(allowed: dict[str, list[str]], rounds: int, rng: random.Random) -> dict[str, list[str]]:
    """Deal every category `rounds` of its allowed wrong answers, each being dealt out `rounds` times too.

    In one round each category gets one wrong answer and is one. What a category has had least comes first,
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
                f"[{name}] wrong answers cannot be balanced: more than {len(tried)} categories allow none "
                f"but {', '.join(sorted(tried))}; let one of them be near something else"
            )
    return holder


def make_pairs(categories: dict[str, Category], seed: int = SEED) -> list[Pair]:
    """Every member with its own category and with one wrong one, in an order fixed by the seed."""
    rng = random.Random(seed)
    size = list_length(categories)
    near = deal({name: category.near for name, category in categories.items()}, size, rng)
    far = deal({name: far_categories(name, categories) for name in categories}, size, rng)
    pairs = []
    for name, category in categories.items():
        typical = rng.sample(category.typical, size)
        atypical = rng.sample(category.atypical, size)
        pairs += [Pair(member, name, "yes", "high") for member in typical]
        pairs += [Pair(member, name, "yes", "low") for member in atypical]
        # Half of either list meets near categories: a typical member must not hint at a near or a far "no".
        half = size // 2
        meet_near = rng.sample(typical[:half] + atypical[half:], size)
        meet_far = rng.sample(typical[half:] + atypical[:half], size)
        for similarity, members, wrong in (("high", meet_near, near[name]), ("low", meet_far, far[name])):
            pairs += [Pair(*named, "no", similarity) for named in zip(members, wrong, strict=True)]
    rng.shuffle(pairs)  # so that the first hundred rows are a fair sample
    return pairs


def render(pairs: list[Pair]) -> str:
    """The text of the TSV."""
    return "".join("\t".join(pair) + "\n" for pair in pairs)


def main() -> int:
    """Write or check the file; the exit code."""
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
