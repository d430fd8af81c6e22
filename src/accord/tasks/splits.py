"""Which items train and which test: at random, or so that a test item's words never occurred in training.

All of it is fixed by the seed and the order of the items. Test sides hold about the wished share of the
items, and about as many right answers among them as the whole.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from accord.tasks.base import Item, Task

T = TypeVar("T")

MANY_ANSWERS = 4
"""Answers of a prompt in the mean, from which on a limit takes them together: they are to be compared."""
AT_ONCE = 8
"""How many of them it takes of every prompt before it takes more of any."""


@dataclass(frozen=True)
class Sides:
    """The two sides of a split, and how many items belong to neither.

    A nested split has two more: pairs whose category no training pair has, and pairs of which neither word does.
    """

    train: list[Item]
    test: list[Item]
    dropped: int = 0
    unseen_hypernyms: list[Item] = field(default_factory=list)
    unseen_both: list[Item] = field(default_factory=list)


def spread(things: Sequence[T], keys: Sequence[Callable[[T], object]], rng: Random) -> list[T]:
    """Shuffle so that every prefix mixes the kinds as the whole does: by the first key, then the next.

    >>> ["even" if n % 2 == 0 else "odd" for n in spread([1, 3, 5, 2, 4, 6], [lambda n: n % 2], Random(0))]
    ['even', 'odd', 'even', 'odd', 'even', 'odd']
    """
    if not keys:
        return rng.sample(things, len(things))
    kinds: dict[str, list[T]] = {}
    for thing in things:
        kinds.setdefault(str(keys[0](thing)), []).append(thing)
    streams = [spread(kinds[kind], keys[1:], rng) for kind in sorted(kinds)]
    placed = [((i + 0.5) / len(stream), thing) for stream in streams for i, thing in enumerate(stream)]
    return [thing for _, thing in sorted(placed, key=lambda place: place[0])]


def mixed(items: Sequence[Item], seed: int) -> list[Item]:
    """Items in an order whose every prefix is balanced: what a limit cuts."""
    rng = Random(f"order {seed}")
    return spread(items, [lambda item: item.label or item.gold, lambda item: item.similarity], rng)


def prompt_by_prompt(prompts: Iterable[Sequence[Item]], limit: int | None, seed: int) -> list[Item]:
    """At most `limit` items such that those of a prompt can be compared: `AT_ONCE` answers of every prompt, then more.

    The answers of a prompt are mixed, so that right and wrong ones are among those. What no longer fits whole into the
    limit is left out, but for a first prompt.
    """
    rng, parts = Random(f"order {seed}"), list[tuple[int, list[Item]]]()
    for answers in spread(list(prompts), [_makeup], rng):
        mixed_up = spread(answers, [lambda item: item.label or item.gold], rng)
        parts += [(start, mixed_up[start : start + AT_ONCE]) for start in range(0, len(mixed_up), AT_ONCE)]
    chosen: list[Item] = []
    for _, part in sorted(parts, key=lambda each: each[0]):
        if limit is not None and chosen and len(chosen) + len(part) > limit:
            break
        chosen += part
    return chosen[:limit]


def by_unit(items: Sequence[Item], unit: Callable[[Item], Hashable]) -> list[list[Item]]:
    """The items of each unit, in the order of their first."""
    units: dict[Hashable, list[Item]] = {}
    for item in items:
        units.setdefault(unit(item), []).append(item)
    return list(units.values())


def same_prompt(items: Sequence[Item], question: Callable[[Item], str]) -> Callable[[Item], Hashable]:
    """All answers of a prompt as a unit: items that share the prompt of the data, or else the question, stay together.

    Where the data name prompts, two that a question has in common are one unit.
    """
    if all(item.prompt is None for item in items):
        return question
    above: dict[Hashable, Hashable] = {}

    def top(key: Hashable) -> Hashable:
        while (next_up := above.get(key, key)) != key:
            key = next_up
        return key

    for item in items:
        own = ("question", question(item))
        if item.prompt is not None:
            first, second = top(("prompt", item.prompt)), top(own)
            above[second] = first
    return lambda item: top(("question", question(item)))


def prompts_apart(task: Task) -> list[Hashable]:
    """Of each item what no item of a test shares with it: its prompt, or where pairs of words are divided, itself.

    >>> import accord
    >>> programs, pairs = (accord.task(name, limit=40) for name in ("programs", "hypernymy"))
    >>> len(set(prompts_apart(programs))), len(set(prompts_apart(pairs)))
    (5, 40)
    """
    if task.nested:
        return [*range(len(task.items))]
    return [item.prompt or task.generator.prompt(item) for item in task.items]


def held_apart(task: Task, fewest: int) -> tuple[Sequence[str | None], str]:
    """Of each item what no item that is fitted shares with it, if it is to judge the fit; and what that is called.

    Its group, as items that are tested may have a group that no training item has. Where there are fewer than `fewest`
    groups, or they cut across prompts, its prompt. Where prompts are too few, too, or have one item each: None.
    """
    groups, prompts = [str(item.group) for item in task.items], [*map(str, prompts_apart(task))]
    if len(set(groups)) >= fewest and len({*zip(prompts, groups, strict=True)}) == len(set(prompts)):
        return groups, "group"
    if fewest <= len(set(prompts)) < len(prompts):
        return prompts, "prompt"
    return [None] * len(prompts), "item"


def random_sides(items: Sequence[Item], unit: Callable[[Item], Hashable], share: float, seed: int) -> Sides:
    """A random share of the units tests: items of one unit stay together; each kind is shared out."""
    order = spread(by_unit(items, unit), [_makeup], Random(f"split {seed}"))
    n_test = max(1, min(round(share * len(order)), len(order) - 1)) if len(order) > 1 else 0
    chosen = {id(item) for unit in order[:n_test] for item in unit}
    return Sides([i for i in items if id(i) not in chosen], [i for i in items if id(i) in chosen])


def both_words(words: tuple[str, str]) -> Callable[[Item], Hashable]:
    """A pair of words as a unit, in either order: whoever knows that big means large knows that large means big."""
    return lambda item: frozenset(item.fields[word] for word in words)


def _makeup(unit: Sequence[Item]) -> list[tuple[bool, str]]:
    return sorted((item.gold, f"{item.label or ''}{item.similarity}") for item in unit)


def unseen_sides(items: Sequence[Item], words: tuple[str, str], share: float, seed: int, *, both: bool) -> Sides:
    """Divide the categories; with `both`, the members too, dropping the pairs that cross.

    `words` names the member and the category field. A search moves categories to the other side as long as
    that helps: few pairs lost, a test side of the wished size, right and wrong answers balanced on both sides.
    """
    from accord.tasks.divided_words import divided  # numpy, which no other split needs

    testing, kept = divided(items, words, share, seed, both=both)
    return Sides(
        [item for item, test, keep in zip(items, testing, kept, strict=True) if keep and not test],
        [item for item, test, keep in zip(items, testing, kept, strict=True) if keep and test],
        int((~kept).sum()),
    )


def nested_sides(items: Sequence[Item], words: tuple[str, str], share: float, seed: int) -> Sides:
    """One training side and three tests of it, ever further away, so that one repair is tried on all of them.

    The words are divided as by `unseen_sides` with `both`. Pairs of two test words are `unseen_both`; pairs of a test
    category with a training member are `unseen_hypernyms`; pairs of two training words are divided at random into
    `train` and `test`. Pairs of a test member with a training category belong to none.
    """
    from accord.tasks.divided_words import divided  # numpy, which no other split needs

    testing, kept = divided(items, words, share, seed, both=True)
    sorted_out = list(zip(items, testing, kept, strict=True))
    seen = [item for item, test, keep in sorted_out if keep and not test]
    near = random_sides(seen, both_words(words), share, seed)
    return Sides(
        near.train,
        near.test,
        sum(not keep and not test for _, test, keep in sorted_out),
        unseen_hypernyms=[item for item, test, keep in sorted_out if test and not keep],
        unseen_both=[item for item, test, keep in sorted_out if test and keep],
    )
