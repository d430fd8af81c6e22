"""A score table's columns as measures read them, and what a measure is: a number, its interval, its change."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accord.errors import AccordError
from accord.intervals import (
    Estimate,
    Floats,
    auc,
    auc_estimate,
    difference,
    mean_change,
    mean_estimate,
    share_change,
    share_estimate,
)
from accord.intervals.estimate import Classes, unchanged

_FIRST = "generator_first_logodds"  # tables of before there was another score have none
_PROMPTS = ("prompt_group", "generator_prompt")  # which items answer one prompt: the first of these that is there
FEWEST_ANSWERS = 4
"""Answers of one prompt below which nothing is measured within it."""
_COLUMNS = ("gold", "generator_logodds", "validator_logodds", "generator_rank", "yes_no_mass")


@dataclass(frozen=True)
class ScoreColumns:
    """Columns of a score table, gold-yes items first: arrays [item]."""

    generator: Floats
    validator: Floats
    rank: Floats
    mass: Floats
    n_yes: int
    chosen: NDArray[np.bool_] | None = None  # whether the validator chose the right label; None: it says yes or no
    first: Floats | None = None  # log-odds of the answer's first token; None: as `generator`
    prompt: NDArray[np.int64] | None = None  # the number of the prompt that the item answers, from 0; None: unknown

    @property
    def yes(self) -> slice:
        """Where the items with gold yes are."""
        return slice(0, self.n_yes)

    @property
    def no(self) -> slice:
        """Where the items with gold no are."""
        return slice(self.n_yes, None)

    @property
    def gold(self) -> NDArray[np.bool_]:
        """Gold labels [item]."""
        return np.arange(len(self.generator)) < self.n_yes

    @property
    def classes(self) -> Classes:
        """Both gold classes, whose sizes are fixed."""
        return [self.yes, self.no]

    @property
    def prompts(self) -> int:
        """How many prompts there are."""
        return 0 if self.prompt is None else int(self.prompt.max(initial=-1)) + 1

    @cached_property
    def compared(self) -> list[NDArray[np.int64]]:
        """The items of each prompt within which there is something to measure, those with gold yes first.

        These have at least `FEWEST_ANSWERS` answers, right and wrong ones.
        """
        if self.prompt is None:
            return []
        order = np.argsort(self.prompt, kind="stable")
        ends = np.cumsum(np.bincount(self.prompt, minlength=self.prompts))
        gold = self.gold
        return [
            items
            for items in np.split(order, ends[:-1])
            if len(items) >= FEWEST_ANSWERS and 0 < gold[items].sum() < len(items)
        ]

    def part(self, name: str) -> slice:
        """Where the items of "all", "yes" or "no" are."""
        return {"all": slice(None), "yes": self.yes, "no": self.no}[name]

    def classes_of(self, name: str) -> Classes:
        """The gold classes within such a part: both in "all", none in one class alone."""
        return self.classes if name == "all" else ()


def prompt_numbers(scores: pd.DataFrame) -> NDArray[np.int64] | None:
    """The number of the prompt that each item of a score table answers [item], from 0; None where it is not told."""
    name = next((name for name in _PROMPTS if name in scores), None)
    return None if name is None else pd.factorize(scores[name])[0].astype(np.int64)


def sample(scores: pd.DataFrame) -> ScoreColumns:
    """The columns that measures need, from a score table (see `accord.gap.measure_gap`).

    Raises:
        AccordError: a column is missing.
    """
    if missing := [name for name in _COLUMNS if name not in scores]:
        raise AccordError(
            "a column is missing from the score table",
            got=", ".join(map(str, scores.columns)),
            wanted=missing[0],
        )
    ordered = pd.concat([scores[scores["gold"]], scores[~scores["gold"]]])
    generator, validator, rank, mass = (ordered[name].to_numpy(dtype=np.float64) for name in _COLUMNS[1:])
    chosen = None
    if "validator_choice" in ordered:
        chosen = (ordered["validator_choice"] == ordered["label"]).to_numpy()
    first = ordered[_FIRST].to_numpy(dtype=np.float64) if _FIRST in ordered else None
    n_yes = int(scores["gold"].sum())
    return ScoreColumns(generator, validator, rank, mass, n_yes, chosen, first, prompt_numbers(ordered))


Column = Callable[[ScoreColumns], Floats]


def generator(s: ScoreColumns) -> Floats:
    """l_G of every item."""
    return s.generator


def validator(s: ScoreColumns) -> Floats:
    """l_V of every item."""
    return s.validator


def first_token(s: ScoreColumns) -> Floats:
    """Log-odds of the first token of every item's answer."""
    return s.generator if s.first is None else s.first


def validator_right(s: ScoreColumns) -> NDArray[np.bool_]:
    """Where the validator is right [item]: by the sign of l_V, or where it chooses by the most probable label."""
    return (s.validator > 0) == s.gold if s.chosen is None else s.chosen


@dataclass(frozen=True)
class Measure:
    """A number of a score table; call it for the number alone.

    Attributes:
        estimate: the number with its interval.
        paired: after − before of the same items, with its interval.
        scored: the columns that it is made from: where they are the very same, nothing changed.
    """

    value: Column
    estimate: Callable[[ScoreColumns], Estimate]
    paired: Callable[[ScoreColumns, ScoreColumns], Estimate]
    scored: tuple[Column, ...]

    def __call__(self, s: ScoreColumns) -> Floats:
        """The number alone; nan where it is not defined."""
        return self.value(s)

    def change(self, before: ScoreColumns, after: ScoreColumns) -> Estimate:
        """after − before of the same items; 0 for certain where nothing changed."""
        same = all(_same(column(before), column(after)) for column in self.scored)
        return unchanged() if same and not np.isnan(self(before)) else self.paired(before, after)


def _same(before: Floats, after: Floats) -> bool:
    """Whether scores are exactly equal, with so many distinct values that it is no coincidence."""
    return np.array_equal(before, after) and len(np.unique(before)) > len(before) / 2


def correlation(
    value: Callable[[Floats, Floats], Floats],
    error: Callable[[Floats, Floats, Classes], Estimate],
    part: str = "all",
    x: Column = generator,
    y: Column = validator,
) -> Measure:
    """Of two columns, over all items or within one gold class."""

    def columns(s: ScoreColumns) -> tuple[Floats, Floats]:
        return x(s)[s.part(part)], y(s)[s.part(part)]

    def estimate(s: ScoreColumns) -> Estimate:
        return error(*columns(s), s.classes_of(part))

    def paired(before: ScoreColumns, after: ScoreColumns) -> Estimate:
        return difference(estimate(before), estimate(after), before.classes_of(part))

    scored = (lambda s: columns(s)[0], lambda s: columns(s)[1])
    return Measure(lambda s: value(*columns(s)), estimate, paired, scored)


def area(column: Column) -> Measure:
    """Area under the ROC curve of a column for gold."""

    def estimate(s: ScoreColumns) -> Estimate:
        return auc_estimate(column(s), s.n_yes)

    def paired(before: ScoreColumns, after: ScoreColumns) -> Estimate:
        return difference(estimate(before), estimate(after), before.classes)

    return Measure(lambda s: auc(column(s), s.n_yes), estimate, paired, (column,))


def share(right: Callable[[ScoreColumns], NDArray[np.bool_]], scored: Column) -> Measure:
    """Share of items that a form puts on the right side, by its scores."""

    def hits(s: ScoreColumns) -> Floats:
        return right(s).astype(np.float64)

    def estimate(s: ScoreColumns) -> Estimate:
        return share_estimate(hits(s), s.classes)

    def paired(before: ScoreColumns, after: ScoreColumns) -> Estimate:
        return share_change(hits(before), hits(after), before.classes)

    return Measure(lambda s: _mean(hits(s)), estimate, paired, (scored,))


def mean(values: Column, scored: Column, part: str = "all") -> Measure:
    """Mean of values in [0, 1], made from scores, over all items or those of one gold class."""

    def own(s: ScoreColumns) -> Floats:
        return values(s)[s.part(part)]

    def estimate(s: ScoreColumns) -> Estimate:
        return mean_estimate(own(s), s.classes_of(part), unit=True)

    def paired(before: ScoreColumns, after: ScoreColumns) -> Estimate:
        return mean_change(own(before), own(after), before.classes_of(part), unit=True)

    return Measure(lambda s: _mean(own(s)), estimate, paired, (lambda s: scored(s)[s.part(part)],))


def _mean(x: Floats) -> Floats:
    return np.asarray(x.mean() if len(x) else np.nan)
