"""What a number of the page means, and where it is defined."""

from dataclasses import dataclass

from accord.report.links import slug


@dataclass(frozen=True)
class Term:
    """One metric: how it is called on the page, what it says, its formula, where it is defined, and its scale.

    Attributes:
        formula: in plain text; empty for what is counted. `L_G` and `L_V` are the two forms' log-odds, see `SCORES`.
    """

    label: str
    meaning: str
    defined: str
    formula: str = ""
    low: float = 0.0
    high: float = 1.0
    neutral: float | None = None  # the value that means "nothing there": chance, or no correlation
    whole: bool = False  # a count

    @property
    def place(self) -> str:
        """The id that its formula has in the glossary of the page; empty where it has none.

        >>> Term("Same top token, asked", "", "", SAME_TOP).place
        'measure-same-top-token-asked'
        """
        return f"measure-{slug(self.label.replace('×', 'times'))}" if self.formula else ""


SCORES = {
    "l_G": "log p(a | G) − log(1 − p(a | G)): answer a after the generator prompt G",
    "l_V": "log Σ p(yes words | V) − log Σ p(no words | V): after the validator prompt V; of a validator that chooses, "
    "the right label against the others",
}
"""The two scores of an item, in nats, that formulas are about."""

SAME_TOP = "share of positions at which p and q have the same most probable token, p the base's, q the repaired model's"
AUC = "P({0} of a right answer > {0} of a wrong one) + ½ P(equal) (Mann and Whitney)"
ACCURACY = "share of items with (l_V > 0) = right"
MASS = "mean of Σ p(label words | V)"
PERPLEXITY = "exp(Σ −log p / tokens), over all tokens of all texts"
DISTINCT = "different {0} / all {0} of the texts (Li et al. 2016)"
REPEATED = "mean over texts of 1 − different 4-grams / all 4-grams of the text (Welleck et al. 2020)"

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
