"""What a number of the page means, and where it is defined."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """One metric: how it is called on the page, what it says, where it is defined, and the scale it lives on."""

    label: str
    meaning: str
    defined: str
    low: float = 0.0
    high: float = 1.0
    neutral: float | None = None  # the value that means "nothing there": chance, or no correlation
    whole: bool = False  # a count


# What the page's own words mean, in the order of the alphabet; a click away from everywhere on it.
WORDS: dict[str, str] = {
    "AUC": "chance that a right answer gets a higher score than a wrong one: 1 is perfect, .5 is guessing",
    "Closed": (
        "share of the gap that a repair closes: (r after − r before) / (1 − r before); 1 is perfect agreement"
        " of the two forms, 0 nothing gained"
    ),
    "Concept": (
        "a direction, or several, that a concept model has found in the model's states, and that is on or off"
        " at each token"
    ),
    "Generator, completing": (
        "the form of an item in which the model goes on with a sentence; it says an answer if that is among "
        "its likeliest, as many as there are right ones"
    ),
    "L0": "concepts that are on at a token, on average: fewer is sparser",
    "LCBLM": (
        "learnable concept-based language model: concepts that are on with a probability and have an "
        "embedding each, so that one concept can be present in different ways (after arXiv 2506.02092)"
    ),
    "Log-odds": "log p − log(1 − p), in nats: 0 is even, above 0 likelier than not",
    "Nested": (
        "a split with one set of training items and three tests of it: new items, items whose category no "
        "training item has, and items of which no training item has either word"
    ),
    "r": (
        "Pearson's correlation of the two forms' log-odds over items: 1 where they agree on which answers are likelier"
    ),
    "RankAlign": (
        "a repair by training: of every pair of items that one form tells apart, the other form learns the "
        "same order (arXiv 2504.11381)"
    ),
    "Readout": (
        "a repair without training: what the validator's own state tells of the generator's log-odds, found "
        "by regression, is added to the validator's answer"
    ),
    "Seed": "what a training begins with at random; several tell how much of a result is luck",
    "Validator, asked": (
        "the form of an item in which the model is asked whether the answer is right; it affirms if yes is "
        "likelier than no"
    ),
}
