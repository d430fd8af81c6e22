"""The room Repairs: whatever is asked before and after, damage on one's own sentences, and the threshold by hand."""

import math
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from nicegui import ui

from accord.damage.terms import damage_term
from accord.errors import AccordError
from accord.explore.ask_room import AskRoom
from accord.explore.kit import Slider, box, button, copy_buttons, save_rows, table, words
from accord.explore.subject import BASE, Subject
from accord.explore.visitor import Board, Visitor, hint
from accord.report.metric import Metric
from accord.report.wording import amount, interval, number

if TYPE_CHECKING:
    from accord.damage import Damage

_TEXTS = 50  # sentences of one's own at a time
_FURTHEST = 12.0  # nats that the threshold is moved at most
_OWN = """The committee met on Tuesday to discuss the budget.
A bee is an insect that makes honey.
It rained all day, and nobody went out.
She opened the letter and read it twice.
The bridge was closed for repairs until spring.
Water boils at a lower temperature on a mountain."""


class RepairsRoom:
    """One repair of the run at a time, beside the model under study."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        subject = visitor.subject
        if not subject.repairs:
            model = subject.backbone.model
            made = [
                "accord",
                "repair",
                "--model",
                model,
                "--task",
                "hypernymy",
                "--method",
                "readout",
                "--out",
                "repaired",
            ]
            hint("No repairs here. A study makes them, with [[repair]] and [verdict]; or one alone:", shlex.join(made))
            return
        with box("x-controls"):
            labels = subject.repairs
            self.label = ui.select(labels, value=labels[0], label="Repair", on_change=self._changed)
            self.label.props("outlined dense")
        self.told = box("x-told")
        words("Before and after: ask anything", tag="h2")
        self.ask = AskRoom(visitor, "repaired", beside=lambda: str(self.label.value))
        words("Damage on your own sentences", tag="h2")
        words("How far the repair moved the model on text that has nothing to do with the task.", "note")
        with box("x-inputs"):
            self.texts = ui.textarea("Sentences, one a line", value=_OWN).props("outlined dense stack-label autogrow")
            self.texts.classes("x-long")
        button("Compare", self._compare, "the two models on these sentences")
        self.damage = Board(visitor, "damage")
        words("The threshold by hand", tag="h2")
        words(
            "A number added to every log-odds of yes, as the repair “calibrate” does. Correlations and AUC stay "
            "as they are: only where yes begins is moved.",
            "note",
        )
        self.threshold = box("x-card")

    async def begin(self) -> None:
        """Show the first repair."""
        if self.visitor.subject.repairs:
            self._tell()
            await self.ask.begin()

    async def _changed(self) -> None:
        self.damage.clear()
        self._tell()
        await self.ask.ask()

    def _tell(self) -> None:
        """What the run found of this repair, and its threshold."""
        subject, label = self.visitor.subject, str(self.label.value)
        self.told.clear()
        with self.told:
            for line in found_of(subject, label):
                words(line)
        self.threshold.clear()
        with self.threshold:
            sides = sides_of(subject, label)
            if sides:
                _slider(subject, label, sides)
            else:
                words("No verdict of this run tells how this repair answers items. This makes one:")
                words(f"accord verdict --repaired {shlex.quote(subject.place(label))} --task TASK", tag="pre")

    async def _compare(self) -> None:
        subject, label, text = self.visitor.subject, str(self.label.value), str(self.texts.value or "")
        loaded = subject.is_loaded() and subject.is_loaded(label)
        await self.damage.show(
            lambda: damage_of(subject, label, text),
            lambda found: _draw_damage(subject, label, found),
            "Reading with both models …" if loaded else "Loading the models, once …",
        )


def found_of(subject: Subject, label: str) -> list[str]:
    """What the run says of a repair: its kind and training, the verdict, the damage."""
    assert subject.run is not None
    lines = [f"How it was made: {subject.record(label).headline()}."]
    for stage, how in (("verdict", "The gap, on items it never saw"), ("damage", "What it cost")):
        if (name := f"{stage}/{label}") in subject.run:
            result = subject.run[name]
            lines.append(f"{how}: {getattr(result, 'sentence', '') or result.headline()}")
    return lines


@dataclass(frozen=True)
class BeforeAfter:
    """The same items before and after a repair.

    Attributes:
        trial: which items, in words.
    """

    trial: str
    before: pd.DataFrame
    after: pd.DataFrame


def sides_of(subject: Subject, label: str) -> BeforeAfter | None:
    """The first test of a repair's verdict, before and after; None without a verdict."""
    assert subject.run is not None
    if f"verdict/{label}" not in subject.run:
        return None
    verdict = subject.run[f"verdict/{label}"]
    answers = subject.run[f"answers/{verdict.about['base']}"]
    trial = next(name for name in verdict.changes if name in verdict.after)
    return BeforeAfter(f"{verdict.n[trial]:,} {verdict.titles[trial]}", answers.scores[trial], verdict.after[trial])


def _slider(subject: Subject, label: str, sides: BeforeAfter) -> None:
    """The slider, and what it does to the items of a test."""
    from accord.explore.threshold import thresholds, usual_shifts

    usual = usual_shifts(sides.after)
    words(f"On {sides.trial}.", "note")
    with box("x-slider"):
        words("added to the log-odds of yes", tag="span")
        slider = Slider("Added to the log-odds of yes", -_FURTHEST, _FURTHEST, 0.1, 0.0, lambda: move())
        words("nats", "note", "span")
    with box("x-actions"):
        for name, about in (("share", "Half are affirmed"), ("gold", "Fewest errors, by gold")):
            button(about, lambda name=name: slider.set(round(_within(usual[name]), 1)))  # type: ignore[misc]
        button("As it is", lambda: slider.set(0.0))
    shown = box("x-shown")

    def move() -> None:
        shift = slider.value
        shown.clear()
        with shown:
            rows = []
            for name, scores in (("before", sides.before), ("after", sides.after)):
                plain, moved = thresholds(scores, [0.0, shift])
                cells = (plain.affirmed, moved.affirmed, plain.accuracy, moved.accuracy)
                rows.append([name, *(f"{value:.0%}".replace("%", " %") for value in cells)])
            header = ("the repair", "affirms, as it is", "affirms, moved", "right, as it is", "right, moved")
            table(header, rows, "Shares of the items, with the threshold as it is and moved")
            [moved] = thresholds(sides.after, [shift])
            copy_buttons(_calibrated(subject, label, moved.affirmed))

    move()


def _within(shift: float) -> float:
    return max(-_FURTHEST, min(_FURTHEST, shift))


def _calibrated(subject: Subject, label: str, affirmed: float) -> list[tuple[str, str]]:
    """How the repaired model is calibrated so that it affirms this share."""
    share = min(0.99, max(0.01, affirmed))
    place = subject.place(label)
    task = str(subject.record(label).about["task"]["name"])
    options = ["--method", "calibrate", "--set", f"share={share:.2f}", "--out", "calibrated"]
    python = f"""import accord
from accord import repair

train = accord.task({task!r}, split="train")
section = repair.read_repair({{"kind": "calibrate", "share": {share:.2f}}})
repair.repair(accord.load({place!r}), train, section, folder="calibrated")"""
    return [
        ("Python", python),
        ("command", shlex.join(["accord", "repair", "--model", place, "--task", task, *options])),
    ]


def damage_of(subject: Subject, label: str, text: str) -> "Damage":
    """What the repair changed on these lines; called in the thread of the models."""
    from accord.damage import measure_damage
    from accord.explore.asking import LONGEST

    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or len(lines) > _TEXTS or max(map(len, lines)) > LONGEST:
        raise AccordError(
            "These sentences cannot be compared.",
            got=f"{len(lines):,} lines, of {max(map(len, lines), default=0):,} characters at most",
            wanted=f"1 to {_TEXTS} lines, of {LONGEST:,} characters at most",
        )
    return measure_damage(subject.model(BASE), subject.model(label), texts=lines, facts=0, samples=0)


def _draw_damage(subject: Subject, label: str, damage: "Damage") -> None:
    words(damage.sentence, "x-verdict")
    told = damage.table.to_dict("records")
    rows = []
    for row in told:
        change = Metric(*(math.nan if row[end] is None else float(row[end]) for end in ("change", "low", "high")))
        numbers = [
            *(amount(Metric(float(row[model]), math.nan, math.nan))[0] for model in ("base", "repaired")),
            f"{'× ' if row['change_is'] == 'ratio' else ''}{number(change.value, 3)} {interval(change, 3)}",
        ]
        rows.append([damage_term(str(row["measure"])).label, *numbers])
    header = ["measure", "before", "after", "change, with 95 % interval"]
    if any(row["reason"] for row in told):
        header.append("why there is no interval")
        rows = [[*cells, row["reason"] or ""] for cells, row in zip(rows, told, strict=True)]
    table(header, rows, "Measures of damage on your sentences")
    with box("x-actions"):
        button("Save rows (CSV)", lambda: save_rows(damage.table, "damage.csv"))
    texts = damage.texts["text"].tolist()
    copy_buttons([("Python", _damage_python(subject, label, texts))])


def _damage_python(subject: Subject, label: str, texts: list[Any]) -> str:
    return f"""import accord
from accord import damage

base, repaired = accord.load({subject.place(BASE)!r}), accord.load({subject.place(label)!r})
damage.measure_damage(base, repaired, texts={texts!r}, facts=0, samples=0).table"""
