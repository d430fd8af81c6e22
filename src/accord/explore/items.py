"""All items of a gap as a table that can be searched, filtered and sorted, and the neighbours of one of them."""

from collections.abc import Callable, Mapping

import pandas as pd

from accord.gap.slices import AFFIRMS_SILENT, SAYS_DENIES, judged
from accord.report.prompts import common_beginning, shared_beginning

SHOWN: Mapping[str, Callable[[pd.DataFrame], "pd.Series[bool]"]] = {
    "all items": lambda rows: rows["gold"].notna(),
    SAYS_DENIES: lambda rows: rows["disagreement"] == SAYS_DENIES,
    AFFIRMS_SILENT: lambda rows: rows["disagreement"] == AFFIRMS_SILENT,
    "right answers": lambda rows: rows["gold"].astype(bool),
    "wrong answers": lambda rows: ~rows["gold"].astype(bool),
}
"""What can be shown of the items -> which rows these are."""

ORDERS: Mapping[str, tuple[str, bool]] = {
    "furthest apart": ("apart", False),
    "item": ("item", True),
    "log-odds of the answer, highest first": ("generator_logodds", False),
    "log-odds of yes, highest first": ("validator_logodds", False),
    "answer": ("answer", True),
}
"""How they can be sorted -> column, and whether the lowest comes first."""


def item_rows(scores: pd.DataFrame) -> pd.DataFrame:
    """The score table of a gap with what each form makes of the item.

    Adds `item`, its row number, the columns of `accord.gap.slices.judged`, `apart`: by how much of all items the two
    forms place it differently, and `completing` and `asked`: its prompts on one line, without what all items share.
    """
    rows = judged(scores).reset_index(drop=True)
    own = {name: _own(rows[f"{form}_prompt"]) for name, form in (("completing", "generator"), ("asked", "validator"))}
    return rows.assign(item=range(len(rows)), apart=rows["distance"].abs(), **own)


def found(rows: pd.DataFrame, text: str = "", shown: str = "all items", order: str = "item") -> pd.DataFrame:
    """The rows of `item_rows` that hold every word of a text, in prompts or answer; of one kind, in one order."""
    kept = rows[SHOWN[shown](rows)]
    whole = (kept["completing"] + " " + kept["answer"].astype(str) + " " + kept["asked"]).str.casefold()
    for word in text.casefold().split():
        kept, whole = kept[whole.str.contains(word, regex=False)], whole[whole.str.contains(word, regex=False)]
    column, ascending = ORDERS[order]
    return kept.sort_values(column, ascending=ascending, kind="stable")


def neighbours(rows: pd.DataFrame, item: int, most: int = 6) -> dict[str, pd.DataFrame]:
    """Other items with the same prompt to complete, and with the same answer: the nearest in validator log-odds."""
    own = rows.loc[rows["item"] == item].iloc[0]
    others = rows[rows["item"] != item]
    nearest = (others["validator_logodds"] - own["validator_logodds"]).abs().sort_values(kind="stable").index
    others = others.loc[nearest]
    same = {
        "the same prompt": others["generator_prompt"] == own["generator_prompt"],
        "the same answer": others["answer"] == own["answer"],
    }
    return {name: others[which].head(most) for name, which in same.items() if which.any()}


def _own(prompts: pd.Series) -> list[str]:
    """Prompts without the worked examples and the words that all of them begin with."""
    texts = [str(prompt) for prompt in prompts]
    shared = shared_beginning(texts)
    texts = [" ".join(text.removeprefix(shared).split()) for text in texts]
    begin = common_beginning(texts).rpartition(" ")
    return [text.removeprefix(begin[0] + begin[1]) for text in texts]
