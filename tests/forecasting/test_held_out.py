"""What a forecast reads is of prompts that no readout has seen, where prompts have several answers."""

from tests.tiny import tiny_model, tiny_tokenizer

from accord.forecasting.measure import forecast
from accord.gap.ridge import folds
from accord.lm import Backbone
from accord.tasks import Form, Item, Task, Template


def crossed() -> Task:
    """12 prompts of 4 answers each, of four groups that every prompt has one of."""
    words = ("food", "bird", "tree", "fish")
    items = [
        Item({"noun": f"{noun}{i}", "answer": word}, word, k < 2, group=f"strategy {k}")
        for i, noun in enumerate(("bees", "cows", "figs") * 4)
        for k, word in enumerate(words)
    ]
    forms = (Template.parse("{noun} are"), Template.parse("Are {noun} a {answer}?"))
    generator, validator = (Form(name, text, "zero", ()) for name, text in zip(("first", "asked"), forms, strict=True))
    return Task("crossed", "train", tuple(items), generator, validator, None, {})


def test_whole_prompts_are_held_out(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from accord.forecasting import readable

    seen = []

    def noted(groups, seed):  # type: ignore[no-untyped-def]
        seen.append((list(groups), folds(groups, seed)))
        return seen[-1][1]

    monkeypatch.setattr(readable, "folds", noted)
    told = forecast(Backbone(tiny_model(), tiny_tokenizer()), crossed(), resamples=0)
    [(groups, fold)] = seen
    assert told.about["held_out"] == "prompt" and len(set(groups)) == 12
    parts = [set(fold[4 * i : 4 * i + 4]) for i in range(12)]
    assert all(len(part) == 1 for part in parts) and len(set.union(*parts)) == 4
