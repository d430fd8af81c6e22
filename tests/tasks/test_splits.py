"""What a split promises: disjoint sides of the wished size, balanced, and the same for the same seed."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import AccordError
from accord.tasks.base import Item
from accord.tasks.divided_words import _Pairs
from accord.tasks.splits import both_words, mixed, nested_sides, random_sides, spread, unseen_sides

WORDS = ("noun1", "noun2")


def pair(noun: str, category: str, gold: bool, similarity: str = "high") -> Item:
    return Item({"noun1": noun, "noun2": category}, category, gold, category, similarity)


def lexicon(seed: int, categories: int = 12, members: int = 10) -> list[Item]:
    """Each member with its own category (right) and another, mostly of the same third (wrong)."""
    rng = Random(seed)
    items = []
    for own in range(categories):
        for m in range(members):
            near = rng.random() < 0.7
            others = [c for c in range(categories) if c != own and (not near or c % 3 == own % 3)]
            noun, similarity = f"n{own}-{m}", "high" if near else "low"
            items.append(pair(noun, f"c{own}", True, similarity))
            items.append(pair(noun, f"c{rng.choice(others)}", False, similarity))
    return items


def words(items: list[Item], name: str) -> set[str]:
    return {item.fields[name] for item in items}


def share_of_right(items: list[Item]) -> float:
    return sum(item.gold for item in items) / len(items)


@pytest.mark.parametrize("seed", range(6))
def test_unseen_hypernyms_never_trains_on_a_test_category(seed):
    items = lexicon(seed)
    sides = unseen_sides(items, WORDS, 0.25, seed, both=False)
    assert not words(sides.train, "noun2") & words(sides.test, "noun2")
    assert len(sides.train) + len(sides.test) == len(items)
    assert sides.dropped == 0
    assert 0.2 < len(sides.test) / len(items) < 0.3
    assert abs(share_of_right(sides.test) - 0.5) < 0.1


@pytest.mark.parametrize("seed", range(6))
def test_unseen_both_shares_no_word_at_all_and_loses_few_pairs(seed):
    items = lexicon(seed)
    sides = unseen_sides(items, WORDS, 0.25, seed, both=True)
    assert not words(sides.train, "noun1") & words(sides.test, "noun1")
    assert not words(sides.train, "noun2") & words(sides.test, "noun2")
    assert len(sides.train) + len(sides.test) + sides.dropped == len(items)
    assert sides.dropped < 0.25 * len(items)  # a random division of the categories loses over a third
    assert 0.18 < len(sides.test) / (len(sides.train) + len(sides.test)) < 0.32
    assert abs(share_of_right(sides.test) - 0.5) < 0.1
    assert abs(share_of_right(sides.train) - 0.5) < 0.1


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from("cdefgh"), st.booleans()),
        min_size=2,
        max_size=30,
    ),
    st.integers(0, 5),
)
def test_unseen_both_holds_for_any_pairs_even_where_a_member_is_also_a_category(pairs, seed):
    items = [pair(*words) for words in pairs]
    if len(words(items, "noun2")) < 2:
        with pytest.raises(AccordError, match="cannot be divided"):
            unseen_sides(items, WORDS, 0.25, seed, both=True)
        return
    sides = unseen_sides(items, WORDS, 0.25, seed, both=True)
    train, test = (words(side, "noun1") | words(side, "noun2") for side in (sides.train, sides.test))
    assert not train & test
    assert len(sides.train) + len(sides.test) + sides.dropped == len(items)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=60), st.integers(0, 5))
def test_random_keeps_units_together_and_every_item_on_one_side(rows, seed):
    items = [Item({"q": str(q), "n": str(n)}, "x", gold) for n, (q, gold) in enumerate(rows)]
    sides = random_sides(items, lambda item: item.fields["q"], 0.25, seed)
    assert not words(sides.train, "q") & words(sides.test, "q")
    assert sorted(words(sides.train, "n") | words(sides.test, "n")) == sorted(words(items, "n"))
    assert len(sides.train) + len(sides.test) == len(items)


def test_a_pair_and_its_reverse_are_on_one_side():
    one_way = [pair(f"a{i}", f"b{i}", gold=i % 2 == 0) for i in range(40)]
    reverse = [pair(f"b{i}", f"a{i}", gold=i % 2 == 0) for i in range(40)]
    sides = random_sides([*one_way, *reverse], both_words(WORDS), 0.25, 1)
    train, test = ({frozenset(item.fields.values()) for item in side} for side in (sides.train, sides.test))
    assert len(sides.test) == 20 and not train & test


def test_random_shares_out_every_kind_of_item():
    items = lexicon(0, categories=20)
    test = random_sides(items, lambda item: (item.fields["noun1"], item.fields["noun2"]), 0.25, 1).test
    assert len(test) == 100
    for gold in (True, False):
        for similarity in ("high", "low"):
            kind = [i for i in items if (i.gold, i.similarity) == (gold, similarity)]
            kept = [i for i in test if (i.gold, i.similarity) == (gold, similarity)]
            assert abs(len(kept) - len(kind) / 4) <= 1


@pytest.mark.parametrize("both", [True, False])
def test_a_seed_fixes_the_split_and_another_gives_another(both):
    items = lexicon(3)
    assert unseen_sides(items, WORDS, 0.25, 1, both=both) == unseen_sides(items, WORDS, 0.25, 1, both=both)
    assert unseen_sides(items, WORDS, 0.25, 1, both=False) != unseen_sides(items, WORDS, 0.25, 2, both=False)
    random = [random_sides(items, lambda i: id(i), 0.25, seed).test for seed in (1, 1, 2)]
    assert random[0] == random[1] != random[2]


@given(st.integers(0, 20), st.integers(1, 200))
def test_every_prefix_of_the_order_is_balanced(seed, n):
    order = mixed(lexicon(5, categories=10), seed)
    first = order[:n]
    assert abs(sum(i.gold for i in first) - len(first) / 2) <= 1
    high = sum(i.similarity == "high" for i in order) / len(order)
    assert abs(sum(i.similarity == "high" for i in first) - high * len(first)) <= 3


def test_the_order_is_a_permutation_that_the_seed_fixes():
    items = lexicon(0)
    assert mixed(items, 1) == mixed(items, 1) != mixed(items, 2)
    assert sorted(mixed(items, 1), key=str) == sorted(items, key=str)


def test_spread_keeps_proportions_of_uneven_kinds():
    order = spread(["a"] * 30 + ["b"] * 10, [lambda x: x], Random(0))
    assert all(abs(order[:n].count("b") - n / 4) <= 1 for n in range(41))


def test_the_cost_of_a_division_is_what_it_loses_and_how_uneven_it_is():
    items = lexicon(2, categories=6, members=2)
    triples = [(i.fields["noun1"], i.fields["noun2"], i.gold) for i in items]
    categories = sorted(words(items, "noun2"))
    for both in (True, False):
        pairs = _Pairs(triples, 0.3, both)
        for bits in range(64):
            tests = np.array([bits >> k & 1 == 1 for k in range(6)])
            testing, kept = pairs.place(tests)
            assert testing.tolist() == [bool(tests[categories.index(category)]) for _, category, _ in triples]
            if both:  # a member is on the side of most of its pairs; here each has two, and one that is torn keeps one
                for noun in words(items, "noun1"):
                    own = [i for i, (member, _, _) in enumerate(triples) if member == noun]
                    assert sum(kept[own]) == (2 if testing[own[0]] == testing[own[1]] else 1)
            else:
                assert kept.all()
            sides = [[t[2] for t, k, side in zip(triples, kept, testing, strict=True) if k and side == on] for on in
                     (True, False)]  # fmt: skip
            if not sides[0] or not sides[1]:
                assert pairs.cost(tests) == float("inf")
                continue
            gold = [sum(side) / len(side) for side in (*sides, [g for _, _, g in triples])]
            uneven = (gold[0] - gold[2]) ** 2 + (gold[1] - gold[2]) ** 2
            size = len(sides[0]) / (len(sides[0]) + len(sides[1])) - 0.3
            lost = 1 - sum(map(len, sides)) / len(triples)
            assert pairs.cost(tests) == pytest.approx(lost + 16 * size**2 + 4 * uneven)


def test_who_tests_stays_the_same_from_version_to_version():
    """A repair is judged by whatever version comes after the one that made it."""
    items = lexicon(1, categories=6, members=3)

    def told(side):
        return " ".join(f"{i.fields['noun1'][1:]}{'+' if i.gold else '-'}" for i in side)

    assert told(mixed(items, 3)[:8]) == "5-0- 4-1+ 2-2- 4-0+ 0-1- 1-0+ 1-2- 1-2+"
    assert told(random_sides(items, id, 0.25, 3).test) == "0-2+ 0-2- 2-1+ 2-1- 2-2- 3-2- 5-1+ 5-2+ 5-2-"
    assert (
        told(unseen_sides(items, WORDS, 0.25, 3, both=False).test)
        == "0-0+ 0-1+ 0-2+ 2-0+ 2-1+ 2-2+ 3-0- 3-1- 3-2- 5-0- 5-2-"
    )
    assert (
        told(unseen_sides(items, WORDS, 0.25, 3, both=True).test) == "2-0+ 2-0- 2-1+ 2-1- 2-2+ 5-0+ 5-0- 5-1+ 5-2+ 5-2-"
    )
    nested = nested_sides(items, WORDS, 0.25, 3)
    assert told(nested.test) == "0-0+ 1-0+ 1-0- 1-1- 3-1+ 4-0-"
    assert (told(nested.unseen_hypernyms), told(nested.unseen_both)) == (
        "4-2-",
        "2-0+ 2-0- 2-1+ 2-1- 2-2+ 5-0+ 5-0- 5-1+ 5-2+ 5-2-",
    )
    assert nested.dropped == 2


@pytest.mark.parametrize(
    ("units", "share", "tests"), [(1, 0.5, 0), (2, 0.01, 1), (2, 0.99, 1), (10, 0.26, 3), (3, 0.5, 2)]
)
def test_a_share_of_the_units_tests_and_neither_side_is_empty(units, share, tests):
    items = [Item({"q": str(n)}, "x", True) for n in range(units)]
    assert len(random_sides(items, lambda item: item.fields["q"], share, 0).test) == tests


@pytest.mark.parametrize("seed", range(4))
def test_unseen_both_finds_the_cut_that_loses_nothing(seed):
    # four islands of three categories: a member's wrong category is always on its own island
    right = [pair(f"n{c}-{m}", f"c{c}", True) for c in range(12) for m in range(10)]
    wrong = [pair(f"n{c}-{m}", f"c{c // 3 * 3 + (c + 1 + m % 2) % 3}", False) for c in range(12) for m in range(10)]
    sides = unseen_sides(right + wrong, WORDS, 0.25, seed, both=True)
    assert (len(sides.test), len(sides.train), sides.dropped) == (60, 180, 0)


@pytest.mark.parametrize("seed", range(6))
def test_unseen_hypernyms_balances_categories_that_are_mostly_right_or_mostly_wrong(seed):
    items = [pair(f"n{c}-{m}", f"c{c}", (m < 9) == (c % 2 == 0)) for c in range(16) for m in range(10)]
    sides = unseen_sides(items, WORDS, 0.25, seed, both=False)
    assert share_of_right(sides.test) == share_of_right(sides.train) == 0.5


@pytest.mark.parametrize("seed", range(4))
def test_nested_gives_one_training_side_and_tests_ever_further_from_it(seed):
    items = lexicon(seed, categories=16)
    sides = nested_sides(items, WORDS, 0.25, seed)
    parts = [sides.train, sides.test, sides.unseen_hypernyms, sides.unseen_both]
    assert sum(map(len, parts)) + sides.dropped == len(items)
    assert len({id(item) for part in parts for item in part}) == sum(map(len, parts))
    trained = {name: words(sides.train, name) | words(sides.test, name) for name in WORDS}
    assert not words(sides.unseen_hypernyms, "noun2") & trained["noun2"]
    assert not words(sides.unseen_both, "noun2") & trained["noun2"]
    assert not words(sides.unseen_both, "noun1") & trained["noun1"]
    assert words(sides.unseen_hypernyms, "noun1") <= {item.fields["noun1"] for item in items} - words(
        sides.unseen_both, "noun1"
    )
    assert 0.2 < len(sides.test) / (len(sides.test) + len(sides.train)) < 0.3
    for part in (sides.train, sides.test, sides.unseen_both):
        assert abs(share_of_right(part) - 0.5) < 0.15
