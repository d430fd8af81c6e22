"""The room Concepts: the dictionary, one concept closely, and sliders that write with concepts turned off and up."""

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from accord.errors import AccordError
from accord.explore.dictionary import ConceptCard, card, search
from accord.explore.kit import Slider, box, button, copy_buttons, likeliest, link, save_rows, table, words
from accord.explore.side_by_side import ARMS, WITHOUT, Beside
from accord.explore.subject import Subject
from accord.explore.visitor import Board, Visitor, hint
from accord.explore.wording import share, signed
from accord.report.wording import number
from accord.screen import visible

FACTOR, ADDED = "times its strength, where it is active", "added: so many times what it usually writes"
_KINDS = {FACTOR: "factor", ADDED: "added"}
_STARTS = {FACTOR: 4.0, ADDED: 2.0}
_MOST = 8.0
_LISTED = 12
_PAUSE = 0.05  # seconds between two looks at a text that is being written, where tokens come faster


@dataclass(frozen=True)
class Steering:
    """What is written with: concept -> number on its slider, and the rest of the fields."""

    label: str
    kind: str
    values: Mapping[int, float]
    prompt: str
    tokens: int
    seed: int

    @property
    def doses(self) -> dict[int, float]:
        """Without the sliders that change nothing."""
        still = 1.0 if self.kind == "factor" else 0.0
        return {concept: value for concept, value in self.values.items() if value != still}


class ConceptsRoom:
    """A list of concepts, the one that is looked at, and the sliders with what they write."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        self.sliders: dict[int, Slider] = {}
        subject = visitor.subject
        self.there = bool(subject.concept_models)
        if not self.there:
            made = "accord run STUDY.toml" if subject.run is not None else "accord init STUDY.toml"
            hint("No concepts here. A study makes them, with [text], [[concepts]] and [names]:", made)
            return
        with box("x-controls"):
            labels = subject.concept_models
            self.label = ui.select(labels, value=labels[0], label="Concept model", on_change=self.begin)
            self.text = ui.input("Search names and tokens", on_change=self._found)
            for field in (self.label, self.text):
                field.props("outlined dense stack-label debounce=200")
        with box("x-split"):
            self.list = box("x-card")
            self.one = box("x-card")
        words("Write with concepts turned off or up", tag="h2")
        words(
            "The same prompt and random numbers every time. A random concept that is as often active, and a random "
            "direction that moves every state as far, stand beside it: what these do as well, the concept does not do.",
            "note",
        )
        with box("x-controls"):
            self.kind = ui.select(list(_KINDS), value=FACTOR, label="A slider is", on_change=self._changed_kind)
            self.prompt = ui.input("Prompt", value="The film was", on_change=self._write)
            self.tokens = ui.number("Tokens", value=30, min=1, max=200, step=1, on_change=self._write)
            self.seed = ui.number("Seed", value=0, min=0, max=10**6, step=1, on_change=self._write)
            for option in (self.kind, self.prompt, self.tokens, self.seed):
                option.props("outlined dense stack-label debounce=500")
        self.panel = box("x-sliders")
        self.board = Board(visitor, "steering")

    async def begin(self) -> None:
        """List the concepts of the model, and look at the most active one."""
        if not self.there:
            return
        self.sliders.clear()
        self.panel.clear()
        self.board.clear()
        self.one.clear()
        label, subject = str(self.label.value), self.visitor.subject
        if label not in subject.dictionaries:
            self.list.clear()
            with self.list:
                words("This run has not told what these concepts fire on and promote. This does:")
                words(shlex.join(["accord", "names", subject.folder, "--concepts", label]), tag="pre")
            with self.one:
                which = ui.number("Number of a concept", value=0, min=0, step=1).props("outlined dense stack-label")
                button("Add a slider for it", lambda: self._add(int(which.value or 0)))
            return
        self._found()
        listed = search(subject.dictionaries[label], "")
        if len(listed):
            self._look(int(listed["concept"].iloc[0]))

    def _found(self) -> None:
        label, subject = str(self.label.value), self.visitor.subject
        if label not in subject.dictionaries:
            return
        found = search(subject.dictionaries[label], str(self.text.value or ""))
        self.list.clear()
        with self.list:
            words(f"{len(found):,} of {len(subject.dictionaries[label].concepts):,} live concepts", "x-count")
            rows = [
                [self._cell(int(row["concept"]), str(row["name"])), share(row["rate"])]
                for row in found.head(_LISTED).to_dict("records")
            ]
            table(("concept", "fires on, of all tokens"), rows, "Concepts that were found")
            if len(found) > _LISTED:
                words(f"The {_LISTED} that fire most. Search for others.", "note")

    def _cell(self, concept: int, name: str) -> Any:
        return lambda: link(f"{concept}: {name}", lambda: self._look(concept), f"concept {concept}")

    def _look(self, concept: int) -> None:
        """Show one concept closely."""
        shown = card(self.visitor.subject.dictionaries[str(self.label.value)], concept)
        self.one.clear()
        with self.one:
            words(f"{shown.number}: {shown.name}", tag="h3")
            words(f"Fires on {share(shown.rate)} of all tokens, with a mean strength of {number(shown.mean)} there.")
            button("Add a slider for it", lambda: self._add(concept), f"concept {concept}")
            with box("x-pair"):
                _changes("Makes more likely", shown.promoted)
                _changes("Makes less likely", shown.suppressed)
            _examples(shown)
            words("Nearest concepts", tag="h4")
            with box("", "ul"):
                for other, name, cosine in shown.near:
                    with box("", "li"):
                        self._cell(other, name)()
                        words(f" cosine {number(cosine)}", "note", "span")

    # Sliders

    async def _changed_kind(self) -> None:
        for slider in self.sliders.values():
            slider.put(_STARTS[str(self.kind.value)])
        await self._write()

    async def _add(self, concept: int) -> None:
        """Put a slider there for a concept, and write with it."""
        if concept in self.sliders:
            return
        subject = self.visitor.subject
        name = subject.concept_names(str(self.label.value)).get(concept, "")
        title = f"{concept}: {name}" if name else f"concept {concept}"
        with self.panel, box("x-slider") as row:
            words(title, tag="span")
            start = _STARTS[str(self.kind.value)]
            slider = Slider(f"Concept {concept}", 0.0, _MOST, 0.5, start, self._write)
            button("Remove", lambda: self._remove(concept, row), f"slider of concept {concept}")
        self.sliders[concept] = slider
        await self._write()

    async def _remove(self, concept: int, row: ui.element) -> None:
        del self.sliders[concept]
        row.delete()
        await self._write()

    async def _write(self) -> None:
        """Write with what the sliders say."""
        if not self.sliders:
            self.board.clear()
            return
        try:
            seed, tokens = int(self.seed.value), int(self.tokens.value)
            if not (0 <= seed <= 10**6 and 1 <= tokens <= 200):
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            self.board.refuse("Tokens is a whole number from 1 to 200, the seed one from 0 to 1,000,000.")
            return
        asked = Steering(
            str(self.label.value),
            _KINDS[str(self.kind.value)],
            {concept: float(slider.value) for concept, slider in self.sliders.items()},
            str(self.prompt.value or ""),
            tokens,
            seed,
        )
        if not asked.doses:
            self.board.refuse("No slider changes anything: move one.")
            return
        subject, arms = self.visitor.subject, Arms(self.visitor.subject, asked)

        def draw(texts: list[Beside]) -> None:
            self.board.tell(f"Writing: {texts[-1].arm} …")
            arms.put(texts)

        put, last = self.board.growing(draw), [0.0]

        def shown(texts: list[Beside]) -> None:
            """Called in the thread of the models."""
            if time.monotonic() - last[0] > _PAUSE:  # else it is in what comes next
                last[0] = time.monotonic()
                put(texts)

        busy = "Loading the model and measuring how strong concepts usually are, once …"
        if subject.is_loaded() and subject.is_measured(asked.label):
            busy = "Writing …"
        await self.board.show(lambda: written(subject, asked, shown), lambda texts: _draw(subject, asked, texts), busy)


def written(subject: Subject, asked: Steering, shown: Any = None) -> list[Beside]:
    """What is written in all four arms; called in the thread of the models."""
    from accord.explore.asking import LONGEST
    from accord.explore.side_by_side import write_beside
    from accord.steering.arms import Dose

    if len(asked.prompt) > LONGEST:
        got, wanted = f"{len(asked.prompt):,} characters", f"at most {LONGEST:,}"
        raise AccordError("This prompt is too long.", got=got, wanted=wanted)
    doses = {concept: Dose(asked.kind, value) for concept, value in asked.doses.items()}  # type: ignore[arg-type]
    target, typical = subject.target(asked.label), subject.typical(asked.label)
    options = {"prompt": asked.prompt, "tokens": asked.tokens, "seed": asked.seed}
    return write_beside(target, typical, doses, **options, shown=shown)  # type: ignore[arg-type]


def _told_of(asked: Steering, texts: Sequence[Beside]) -> str:
    """How to read the four texts."""
    if any(text.tokens != texts[0].tokens for text in texts):
        return "Marked: where a text parts from the one without."
    if asked.kind == "factor":
        return (
            "All four texts are the same. A factor acts only where the concept is active, which it may not be here: "
            "let the slider add what the concept usually writes, take another prompt, or more tokens."
        )
    return "All four texts are the same: move the slider further, or write more tokens."


class Arms:
    """The four texts, each in a panel of its own, which grows while it is written."""

    def __init__(self, subject: Subject, asked: Steering) -> None:
        self._names, self._asked = subject.concept_names(asked.label), asked
        self._panels: dict[str, ui.element] = {}
        self._waiting: dict[str, ui.element] = {}
        self._written: dict[str, tuple[TextElement, TextElement]] = {}

    def put(self, texts: Sequence[Beside]) -> None:
        """Show what there is of them by now."""
        if not self._panels:
            self._begin()
        for text in texts:
            if text.arm not in self._written:
                self._written[text.arm] = self._head(text)
            own = "".join(text.tokens[: text.same]), "".join(text.tokens[text.same :])
            for element, part in zip(self._written[text.arm], own, strict=True):
                element.set_text(visible(part))

    def _begin(self) -> None:
        """All panels at once, so that none moves when another begins."""
        with box("x-arms"):
            for arm in ARMS:
                with box("x-card") as self._panels[arm]:
                    words(arm, tag="h3")
                    self._waiting[arm] = words("…", "note")

    def _head(self, text: Beside) -> tuple[TextElement, TextElement]:
        """What is edited in this arm, what it may begin with, and places for its text until it parts and from there."""
        named = self._names
        self._waiting[text.arm].delete()
        about = ", ".join(f"{k}: {named[k]}" if k in named else f"concept {k}" for k in text.concepts)
        with self._panels[text.arm]:
            words(about or {WITHOUT: "nothing is edited"}.get(text.arm, "no concept: the same size"), "note")
            with box("x-written"):
                words(self._asked.prompt, "note", "span")
                places = words("", "", "span"), words("", "x-other", "span")
            likeliest("Right after the prompt", text.next[:6])
        return places


def _draw(subject: Subject, asked: Steering, texts: list[Beside]) -> None:
    Arms(subject, asked).put(texts)
    words(_told_of(asked, texts), "note")
    with box("x-actions"):
        button("Save rows (CSV)", lambda: save_rows(as_rows(asked, texts), "steering.csv"))
    copy_buttons([("Python", as_python(subject, asked)), ("command", as_command(subject, asked))])


def as_rows(asked: Steering, texts: list[Beside]) -> pd.DataFrame:
    """A row an arm."""
    doses = ", ".join(f"{concept}={value:g}" for concept, value in asked.doses.items())
    return pd.DataFrame(
        [
            {
                "arm": text.arm,
                "concepts": " ".join(map(str, text.concepts)),
                "kind": asked.kind,
                "doses": doses,
                "seed": asked.seed,
                "prompt": asked.prompt,
                "text": text.text,
                "next": " ".join(f"{token} {probability:.4f}" for token, probability in text.next),
            }
            for text in texts
        ]
    )


def as_command(subject: Subject, asked: Steering) -> str:
    """The command that writes the same, without the controls."""
    doses: list[str] = []
    for concept, value in asked.doses.items():
        if asked.kind == "added":
            doses += ["--added", f"{concept}={value:g}"]
        elif value == 0:
            doses += ["--off", str(concept)]
        else:
            doses += ["--concept", str(concept), "--factor", f"{value:g}"]
    prompt = ["--prompt", asked.prompt] if asked.prompt else []
    ends = ["-n", "1", "--tokens", str(asked.tokens), "--seed", str(asked.seed)]
    return shlex.join(["accord", "steer", subject.folder, "--concepts", asked.label, *doses, *prompt, *ends])


def as_python(subject: Subject, asked: Steering) -> str:
    """The lines of Python that write the same, controls and all."""
    doses = ", ".join(f"{concept}: Dose({asked.kind!r}, {value!r})" for concept, value in asked.doses.items())
    return f"""from pathlib import Path
from accord import explore
from accord.steering import Dose, open_target, train_store, typical_of

run = Path({subject.folder!r})
target = open_target(run, concepts={asked.label!r})
typical = typical_of(train_store(run), target)
options = {{"prompt": {asked.prompt!r}, "tokens": {asked.tokens}, "seed": {asked.seed}}}
explore.write_beside(target, typical, {{{doses}}}, **options)"""


def _changes(title: str, tokens: Any) -> None:
    with box("x-near"):
        words(title, tag="h4")
        with box("", "ul"):
            for token, change in tokens[:8]:
                with box("", "li"):
                    words(token, "x-token", "span")
                    words(f" {signed(change, 2)}", "note", "span")


def _examples(shown: ConceptCard) -> None:
    words("Where it is strongest", tag="h4")
    with box("x-examples", "ul"):
        for before, token, after, strength in shown.examples:
            with box("", "li"):
                words(f"…{before}", tag="span")
                words(token, tag="mark")
                words(after, tag="span")
                words(f" {number(strength)}", "note", "span")
