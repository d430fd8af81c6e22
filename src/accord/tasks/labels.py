"""What a validator may answer: its labels, and the words that count as each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from accord.errors import AccordError

if TYPE_CHECKING:
    from accord.tasks.base import Item

YES, NO = "yes", "no"


@dataclass(frozen=True)
class Labels:
    """The labels of a task, each with its words; the first word of each stands in worked examples.

    A validator that is asked *yes or no* has the labels "yes" and "no", whatever words they go by ("Ja", "Nein"): l_V
    is the log-odds of yes. One that *chooses* has labels that are their own words, one of which is right of each item:
    l_V is the log-odds of the right one against all others.

    Attributes:
        words: label -> its words, at least one.
        chooses: whether an item's right label is a word of its own (`Item.label`), not yes or no.
    """

    words: Mapping[str, tuple[str, ...]]
    chooses: bool = False

    @classmethod
    def yes_or_no(cls, yes: Sequence[str] = ("Yes",), no: Sequence[str] = ("No",), where: object = None) -> "Labels":
        """Words for yes and for no. Raises AccordError if a word is blank or stands for both.

        >>> Labels.yes_or_no(["Ja"], ["Nein"]).words
        {'yes': ('Ja',), 'no': ('Nein',)}
        """
        return cls(_checked({YES: yes, NO: no}, where))

    @classmethod
    def choice(cls, labels: Sequence[str], where: object = None) -> "Labels":
        """Labels to choose from. Raises AccordError for fewer than two, a blank one, or one given twice.

        >>> Labels.choice(["good", "bad"]).words
        {'good': ('good',), 'bad': ('bad',)}
        """
        if len(labels) < 2:
            raise AccordError("A choice needs labels", where=where, got=list(labels), wanted="two or more")
        folded = [label.strip().lower() for label in labels]
        if twice := [label for label in labels if folded.count(label.strip().lower()) > 1]:
            raise AccordError("A label is given twice", where=where, got=", ".join(map(repr, twice)))
        return cls(_checked({label.strip(): (label,) for label in labels}, where), chooses=True)

    def check_yes_or_no(self, who: str, task: str) -> None:
        """AccordError, saying that `who` needs it, unless the validator is asked yes or no."""
        if self.chooses:
            wanted = "a validator that is asked yes or no"
            raise AccordError(f"{who} needs {wanted}", where=task, got=f"labels {', '.join(self.words)}")

    def right(self, item: "Item") -> str:
        """The right label of an item: its own where the validator chooses, else yes or no."""
        return item.label or (YES if item.gold else NO)

    def target(self, item: "Item") -> str:
        """The label whose log-odds against all others are l_V: the right one where the validator chooses, else yes."""
        return item.label or YES

    def word(self, item: "Item") -> str:
        """The word for the right label: what worked examples and fine-tuning answer."""
        return self.words[self.right(item)][0]

    @property
    def usual(self) -> bool:
        """Whether these are Yes and No."""
        return self == Labels.yes_or_no()

    def as_json(self) -> dict[str, list[str]]:
        """Label -> words."""
        return {label: list(words) for label, words in self.words.items()}


def _checked(words: Mapping[str, Sequence[str]], where: object) -> dict[str, tuple[str, ...]]:
    label_of: dict[str, str] = {}
    stripped = {label: tuple(dict.fromkeys(word.strip() for word in each)) for label, each in words.items()}
    for label, each in stripped.items():
        if not each or not all(each):
            raise AccordError("A label has no word, or a blank one", where=where, got=f"{label}: {list(words[label])}")
        for word in each:
            if (first := label_of.setdefault(word, label)) != label:
                raise AccordError("A word stands for two labels", where=where, got=f"{word!r}: {first}, {label}")
    return stripped
