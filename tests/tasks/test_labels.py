"""What a validator may answer: which label is right, which is scored, and what no two labels may share."""

import pytest

from accord.errors import AccordError
from accord.tasks.base import Item
from accord.tasks.labels import Labels


def item(gold: bool, label: str | None = None) -> Item:
    return Item({}, "x", gold, label=label)


def test_yes_or_no_scores_yes_whatever_is_right() -> None:
    labels = Labels.yes_or_no([" Ja", "Jawohl ", "Ja"], ["Nein"])
    assert labels.words == {"yes": ("Ja", "Jawohl"), "no": ("Nein",)} and not labels.chooses
    assert labels.as_json() == {"yes": ["Ja", "Jawohl"], "no": ["Nein"]}
    assert [labels.right(item(gold)) for gold in (True, False)] == ["yes", "no"]
    assert [labels.target(item(gold)) for gold in (True, False)] == ["yes", "yes"]
    assert [labels.word(item(gold)) for gold in (True, False)] == ["Ja", "Nein"]
    assert not labels.usual and Labels.yes_or_no().usual
    assert Labels.yes_or_no().words == {"yes": ("Yes",), "no": ("No",)}
    labels.check_yes_or_no("it", "t")


def test_a_choice_scores_the_right_label_which_is_its_own_word() -> None:
    labels = Labels.choice([" good", "bad", "so so"])
    assert labels.words == {"good": ("good",), "bad": ("bad",), "so so": ("so so",)} and labels.chooses
    assert list(Labels.choice(["good", "bad"]).words) == ["good", "bad"]
    for label in labels.words:
        one = item(True, label)
        assert labels.right(one) == labels.target(one) == labels.word(one) == label
    with pytest.raises(AccordError, match=r"(?s)it needs a validator.*labels good, bad, so so"):
        labels.check_yes_or_no("it", "t")


@pytest.mark.parametrize("labels", [["a"], ["a", "A "], ["a", " a"], ["a", "b", "B"], ["a", " "]])
def test_labels_that_are_no_choice_are_refused(labels: list[str]) -> None:
    with pytest.raises(AccordError, match="here"):
        Labels.choice(labels, "here")


@pytest.mark.parametrize(
    ("yes", "no", "said"),
    [
        (["Ja"], ["Nein", "Ja "], r"two labels[\s\S]*here[\s\S]*'Ja': yes, no"),
        (["Ja", " "], ["Nein"], r"blank[\s\S]*here[\s\S]*yes"),
        (["Ja"], [], r"blank[\s\S]*here[\s\S]*no"),
    ],
)
def test_words_that_tell_nothing_apart_are_refused(yes: list[str], no: list[str], said: str) -> None:
    with pytest.raises(AccordError, match=said):
        Labels.yes_or_no(yes, no, "here")
