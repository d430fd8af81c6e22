"""What differs between two runs, in words and tables. Names in it may be anybody's, and are made plain.

In a terminal lists and tables are cut to what a person reads; piped, everything is told.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from textwrap import TextWrapper
from typing import TYPE_CHECKING, Any

from accord.progress import Display
from accord.report.metric import plain
from accord.screen import tell
from accord.study.difference import Difference, MetricDifference, RunDifference, StagePair
from accord.terminal import in_terminal, print_table, print_text

if TYPE_CHECKING:
    from accord.intervals import Interval
    from accord.study.rerun import Remade, Rerun

_WIDEST = 100  # columns
_ROWS, _METRICS, _NAMES = 20, 5, 3  # shown in a terminal: rows of a table, metrics of a stage, names in a list
_VALUE, _CARD = 24, 48  # characters: of a value, and of the name of a card, whose end tells
_MINUS = "−"


# In words


def sentences(difference: RunDifference) -> Iterator[str]:
    """What differs and why, the answer first."""
    if not difference.pairs:
        yield "These runs have no stage in common."
    elif not difference.differing:
        yield from _equal(difference.pairs)
    else:
        yield _first(difference)
        yield _metrics_said(difference)
        if len(difference.causes) > 1:
            yield _shared_out(difference)
        for pair in difference.pairs:
            yield from (f"{_name(pair)}: {plain(remark)}." for remark in pair.remarks)
    for folder, names in ((difference.first, difference.only_first), (difference.second, difference.only_second)):
        if names:
            yield f"Only in {plain(str(folder))}: {_some(names)}."


def because(pair: StagePair, roots: Iterable[str] = ()) -> str:
    """Why a stage differs, in a few words; where its recipe does, what it was made with is left out.

    Args:
        roots: the stages that it follows from in the end (see `RunDifference.roots`); else those it is made from.
    """
    if not pair.causes:
        return f"follows from {_some(sorted(roots) or pair.follows)}"
    if pair.causes == pair.made:
        same = "the same recipe" + ("" if any(one.kind == "package" for one in pair.made) else " and versions")
        return f"{same}, made {_making(pair.made)}"
    if pair.causes[0].kind == "unknown":
        return (
            "the same recipe, versions and device, other bytes: not deterministic, or by something that is not "
            "recorded (other packages; threads and the processor where an earlier version of accord made it)"
        )
    said = _all_said(pair.recipe)
    more = f" and {len(said) - 2} more" if len(said) > 2 else ""
    return ", ".join(said[:2]) + more


def _equal(pairs: Sequence[StagePair]) -> Iterator[str]:
    n, passing = len(pairs), sum(bool(pair.passing) for pair in pairs)
    which = f"All {n} stages are" if n > 1 else "The one stage is"
    yield f"{which} equal to the last byte{f', but for how long {passing} of them took' if passing else ''}."
    if any(pair.recipe or pair.made for pair in pairs):
        yield "What differs in how they were made changed none of their files."


def _first(difference: RunDifference) -> str:
    differing, first = difference.differing, difference.causes[0]
    n = len(difference.pairs)
    of = f"The runs differ in {f'{len(differing)} of {n} stages' if n > 1 else 'their one stage'}"
    also = f"; also made {_making(first.made)}" if first.recipe and first.made else ""
    if len(differing) == 1:
        return f"{of}, {_name(first)}: {because(first)}{also}."
    others = "" if len(difference.causes) > 1 else " All others follow from it."
    return f"{of}. The first that differs for its own reasons is {_name(first)}: {because(first)}{also}.{others}"


def _metrics_said(difference: RunDifference) -> str:
    metrics, noise = difference.metrics, sum(pair.noise for pair in difference.pairs)
    rounding = f"{noise} {'more ' if metrics else ''}by rounding only" if noise else ""
    if not metrics:
        return f"No metric differs{f', but for {rounding}' if noise else ''}."
    top, explanation = metrics[0], difference.explanation
    depend = f", and all depend on {_name(explanation)}" if explanation and len(difference.differing) > 1 else ""
    verb = "differ" if len(metrics) > 1 else "differs"
    return (
        f"{_count(len(metrics), 'metric')} {verb}{depend}{f'; {rounding}' if rounding else ''}. "
        f"Most of all: {plain(top.stage)}, {plain(top.metric)}, {_change_said(top)}."
    )


def _change_said(metric: MetricDifference) -> str:
    digits = _digits(metric)
    values = " → ".join(_number(side["value"], digits) for side in (metric.first, metric.second))
    if metric.change["value"] is None:
        return values
    return f"{values} ({_difference(metric)}{', paired by item' if metric.paired else ''})"


def _shared_out(difference: RunDifference) -> str:
    """Which of several causes explains how much."""
    alone = {_name(cause): len(difference.alone(cause)) for cause in difference.causes}
    said = [f"{name} ({_count(n, 'metric')} on it alone)" if n else name for name, n in alone.items()]
    shared = len(difference.metrics) - sum(alone.values())
    several = f"; {_count(shared, 'metric')} depend on several of them" if shared else ""
    first, *others = (_all_said(cause.recipe) for cause in difference.causes)
    common = [one for one in first if all(one in own for own in others)]
    same = f", in each {', '.join(common)}" if common else ""
    return f"{len(alone)} stages have causes of their own{same}: {_some(said)}{several}."


def notes(difference: RunDifference) -> Iterator[str]:
    """How the intervals of the metrics are to be read."""
    with_intervals = [metric for metric in difference.metrics if metric.first.get("low") is not None]
    if not all(metric.paired for metric in with_intervals):
        yield "A difference without an interval is of other items, or of numbers that accord does not pair."
    if any(cause.kind == "seed" for pair in difference.causes for cause in pair.recipe) and with_intervals:
        yield "Intervals are over items: how far a seed alone moves a number, only several seeds tell."


def _all_said(causes: Sequence[Difference]) -> list[str]:
    """Each of them in words, those that are the same setting in several places once."""
    names = _short_names(causes)
    return list(dict.fromkeys(_said(cause, names) for cause in causes))


def _said(cause: Difference, names: Mapping[str, str]) -> str:
    if cause.kind == "changed":
        whose = [side for side in ("first", "second") if getattr(cause, side) != "as written"]
        return f"files of the {' and the '.join(whose)} run changed since they were made (see accord check)"
    return f"{_what(cause, names)} ({_value(cause.first)} → {_value(cause.second)})"


def _what(cause: Difference, names: Mapping[str, str]) -> str:
    """What differs, as it stands before its two values; `names` are the short ones of settings."""
    name = plain(cause.name)
    named = {
        "setting": f"setting {plain(names.get(cause.name, cause.name))}",
        "seed": "its seed",
        "code": "accord's own version of the stage",
        "input": f"its {name}",
        "changed": "files, since they were made",
    }
    return named.get(cause.kind, name)


def _short_names(differences: Iterable[Difference]) -> dict[str, str]:
    """Key of a setting -> the end that all keys share whose values differ alike: of task.limit and x.limit, limit.

    A key that is alone keeps its whole name.
    """
    alike: dict[tuple[str, ...], set[str]] = {}
    for one in differences:
        key = (one.name.rpartition(".")[2], _value(one.first), _value(one.second))
        alike.setdefault(key, set()).add(one.name)
    short: dict[str, str] = {}
    for names in alike.values():
        ends = zip(*(reversed(name.removeprefix("task.").split(".")) for name in names), strict=False)
        same = [words[0] for words in takewhile(lambda words: len(set(words)) == 1, ends)]
        short |= dict.fromkeys(names, ".".join(reversed(same)))
    return short


def _making(made: Sequence[Difference]) -> str:
    """Such as "with torch 2.13.0 and 2.12.1, on cuda bfloat16 and cpu float32, with 2 and 4 threads"."""
    packages = [one for one in made if one.kind == "package"]
    versions = (f"{plain(one.name)} {_value(one.first)} and {_value(one.second)}" for one in packages)
    found = [one for one in made if one.kind == "machine" and one.name in ("device", "dtype")]
    words = [f"with {', '.join(versions)}"] if packages else []
    if found:
        sides = (" ".join(_value(getattr(one, side)) for one in found) for side in ("first", "second"))
        words.append(f"{'on' if found[0].name == 'device' else 'in'} {' and '.join(sides)}")
    for one in made:
        if one.name == "card":
            words.append(f"on {_value(one.first, _CARD)} and {_value(one.second, _CARD)}")
        elif one.name == "threads":
            words.append(f"with {_value(one.first)} and {_value(one.second)} threads")
    return ", ".join(words)


# In tables


def show(difference: RunDifference) -> None:
    """Print what differs: in words, how the stages were made, which of them differ, and their metrics."""
    for sentence in sentences(difference):
        print_text(sentence, _WIDEST)
    sides = _sides(difference)
    _print(("what differs", *sides, "in"), list(_what_rows(difference)))
    if len(difference.differing) > 1:
        counts = {pair.first: len(pair.metrics) for pair in difference.pairs}
        rows = [
            [_name(pair), because(pair, difference.roots[pair.first]), str(counts[pair.first] or "")]
            for pair in difference.differing
        ]
        _print(("stage that differs", "why", "metrics"), rows)
    _show_metrics(difference, sides)
    for note in notes(difference):
        print_text(note, _WIDEST)


def _what_rows(difference: RunDifference) -> Iterator[list[str]]:
    """Everything that differs in how stages were made, once, with the stages in which it does."""
    where: dict[tuple[str, ...], list[StagePair]] = {}
    names = _short_names(one for pair in difference.pairs for one in pair.recipe)
    for pair in difference.pairs:
        for one in (*pair.recipe, *pair.made):
            head = "seed" if one.kind == "seed" else _what(one, names)
            most = _CARD if one.name == "card" else _VALUE
            pairs = where.setdefault((head, _value(one.first, most), _value(one.second, most)), [])
            pairs += [] if pair in pairs else [pair]
    for what, pairs in where.items():
        stages = f"all {len(pairs)} stages" if len(pairs) == len(difference.pairs) > 1 else _some(map(_name, pairs))
        equal = sum(not pair.files for pair in pairs)
        same = f" ({'with' if equal == len(pairs) else f'{equal} of them with'} the same files)" if equal else ""
        yield [*what, stages + same]


def _show_metrics(difference: RunDifference, sides: tuple[str, str]) -> None:
    stages: dict[str, list[MetricDifference]] = {}
    for metric in difference.metrics:
        stages.setdefault(metric.stage, []).append(metric)
    pairs = {pair.first: _name(pair) for pair in difference.pairs}
    if not in_terminal():
        rows = [[pairs[metric.stage], *_cells(metric)] for metrics in stages.values() for metric in metrics]
        _print(("stage", "metric", *sides, "difference"), rows)
        return
    lines: list[list[str]] = []
    left = 0
    for stage, metrics in stages.items():
        if len(lines) >= _ROWS:
            left += len(metrics)
            continue
        lines.append([pairs[stage], "", "", ""])
        for metric in metrics[:_METRICS]:
            lines.append(_cells(metric))
        if len(metrics) > _METRICS:
            lines.append([f"  and {len(metrics) - _METRICS} more", "", "", ""])
    header = ("metric", *sides, "difference")
    # What rich would wrap, but so that what is below a stage stays to the right of it.
    widths = (max(len(line[i]) for line in [header, *lines]) for i in (1, 2, 3))
    wrapped = TextWrapper(max(_WIDEST - sum(widths) - 13, 20), initial_indent="  ", subsequent_indent="    ")
    _print(header, [[wrapped.fill(line[0]) if line[1] else line[0], *line[1:]] for line in lines], cut=False)
    if left:
        print_text(f"And {_count(left, 'metric')} of other stages.")
    if left or any(len(metrics) > _METRICS for metrics in stages.values()):
        print_text("For all of them: accord diff … | less")


def _cells(metric: MetricDifference) -> list[str]:
    """Name, both values, each with its own interval unless they are paired, and the difference."""
    digits = _digits(metric)
    values = [
        _number(side["value"], digits) + ("" if metric.paired else _ends(side, digits))
        for side in (metric.first, metric.second)
    ]
    return [plain(metric.metric), *values, _difference(metric)]


def _difference(metric: MetricDifference) -> str:
    change, digits = metric.change, _digits(metric)
    if change["value"] is None:
        return ""
    sign = "+" if change["value"] > 0 else ""
    return sign + _number(change["value"], digits) + _ends(change, digits)


def _print(header: Sequence[str], rows: Sequence[Sequence[str]], *, cut: bool = True) -> None:
    if not rows:
        return
    if not in_terminal():
        tell()
    shown = rows[:_ROWS] if cut and in_terminal() else rows
    print_table(header, shown, widest=_WIDEST)
    if len(rows) > len(shown):
        print_text(f"and {len(rows) - len(shown)} more")


def _sides(difference: RunDifference) -> tuple[str, str]:
    """How the two runs are called at the head of a column."""
    first, second = (plain(folder.resolve().name) for folder in (difference.first, difference.second))
    return (first, second) if first != second and max(len(first), len(second)) <= 20 else ("first", "second")


def _name(pair: StagePair) -> str:
    """A stage's name; where the second run has another, its label too."""
    if pair.first == pair.second:
        return plain(pair.first)
    (kind, _, _), (other, _, label) = pair.first.partition("/"), pair.second.partition("/")
    return plain(f"{pair.first} → {label if kind == other else pair.second}")


def _some(names: Iterable[str]) -> str:
    """Names in a row; in a terminal the first of many."""
    every = [plain(name) for name in names]
    if in_terminal() and len(every) > _NAMES + 1:
        every = [*every[:_NAMES], f"{len(every) - _NAMES} more"]
    return " and ".join([", ".join(every[:-1]), every[-1]]) if len(every) > 1 else every[0]


def _value(value: Any, most: int = _VALUE) -> str:
    text = plain(str(value))
    return text if len(text) <= most else text[: most - 1] + "…"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _digits(metric: MetricDifference) -> int:
    """Decimals that show two figures of the change, and three of a number below ten; none of counts."""
    change, values = metric.change["value"], [side["value"] for side in (metric.first, metric.second)]
    if all(isinstance(value, int) for value in values):
        return 0
    size = max(abs(value) for value in values if value is not None)
    return max(3 if size < 10 else 1 if size < 1000 else 0, _figures(change))


def _figures(size: float | None) -> int:
    """Decimals that show two figures of a number; 0 for none."""
    return min(max(1 - math.floor(math.log10(abs(size))), 0), 9) if size else 0


def _number(value: float | None, digits: int) -> str:
    return "undefined" if value is None else f"{value:z,.{digits}f}".replace("-", _MINUS)


def _ends(interval: "Interval", digits: int) -> str:
    """An interval in brackets, in no more digits than its width deserves."""
    low, high = interval.get("low"), interval.get("high")
    if low is None or high is None:
        return ""
    digits = min(digits, max(3, _figures(high - low)))
    return f" [{_number(low, digits)}, {_number(high, digits)}]"


# A stage made again


def show_rerun(difference: RunDifference) -> None:
    """Make the stage that is suspected again both ways, and print whose record is reproduced.

    Raises AccordError as `accord.study.rerun.rerun` does.
    """
    from accord.study.rerun import rerun

    stage = difference.suspect
    if stage is None:
        print_text("There is nothing to make again.")
        return
    with Display("rerun") as display:
        again = rerun(difference, stage, display)
    tell()
    print_text(f"Made again here: {_name(stage)}. {verdict(again, stage)}", _WIDEST)
    for remade, folder in ((again.first, difference.first), (again.second, difference.second)):
        for line in _apart(remade):
            print_text(f"{plain(str(folder))}: {line}", _WIDEST)
    first, second = _sides(difference)
    header = ("metric", first, "again", second, "again")
    _print(header, list(_again_rows(again, stage)))


def verdict(rerun: "Rerun", stage: StagePair) -> str:
    """What both makings say of the cause."""
    reproduced = [rerun.first.reproduced, rerun.second.reproduced]
    alike = not (stage.recipe or stage.follows)
    if rerun.equal and all(reproduced):
        files = len(rerun.between.files)
        apart = f", though {files} of its files do: what was made from it tells by how much" if files else ""
        return f"Both come out as recorded, and alike: no metric of this stage differs{apart}."
    if rerun.equal:
        whose = "neither record is" if not any(reproduced) else f"only the {_NTH[reproduced[0]]} record is"
        so = "" if alike else ", so it is not the recipe that made the difference"
        return f"Both come out alike{so}; {whose} reproduced."
    if alike:
        return "The same recipe from the same inputs comes out in two ways here: it is not deterministic."
    if all(reproduced):
        what = "its recipe" if stage.recipe else "what it is made from"
        then = [
            f"{plain(one.name)} {_value(one.first)}"
            for remade in (rerun.first, rerun.second)
            for one in remade.difference.made
        ]
        also = f"; {', '.join(dict.fromkeys(then))} then or here made none" if then else ""
        return f"Both come out as recorded: what differs in {what} explains the difference{also}."
    if any(reproduced):
        return f"Only the {_NTH[reproduced[0]]} record is reproduced; the other cannot be had here as it was."
    return "Neither record is reproduced: they cannot be had here as they were."


_NTH: Mapping[bool, str] = {True: "first", False: "second"}


def _apart(remade: "Remade") -> Iterator[str]:
    """What of a stage is not as it was, where its record is not reproduced."""
    pair = remade.difference
    if remade.reproduced:
        return
    if pair.made:
        then = (f"{plain(one.name)} {_value(one.first)} ({_value(one.second)} here)" for one in pair.made)
        yield f"recorded with {', '.join(then)}"
    if pair.recipe:
        yield f"its study plans it otherwise now: {', '.join(_all_said(pair.recipe)[:3])}"
    if not (pair.made or pair.recipe):
        yield "recorded by the same recipe and versions, on the same kind of device"


def _again_rows(rerun: "Rerun", stage: StagePair) -> Iterator[list[str]]:
    """The metrics that differ between the runs, or from their records: recorded and made again, of both runs."""
    sides = (rerun.first.recorded, rerun.first.again, rerun.second.recorded, rerun.second.again)
    found = (*stage.metrics, *rerun.first.difference.metrics, *rerun.second.difference.metrics)
    digits: dict[str, int] = {}
    for metric in found:
        digits.setdefault(metric.metric, _digits(metric))
    for name, decimals in digits.items():
        yield [plain(name), *(_number(side.get(name, {}).get("value"), decimals) for side in sides)]
    if not sides[0]:
        same = ["as recorded" if remade.reproduced else "other" for remade in (rerun.first, rerun.second)]
        yield ["files", "", same[0], "", same[1]]
