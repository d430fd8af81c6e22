"""A repair that was fitted without training: its edits, what was chosen, and all that was tried."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from accord.errors import AccordError
from accord.lm.edited import Readout, StateEdit
from accord.lm.model import LanguageModel
from accord.repair.folder import save_edits, with_edits

CHOICES = "choices.parquet"


@dataclass(frozen=True)
class Fitted:
    """Edits of a model, and how they were chosen.

    Attributes:
        edits: what changes; `accord.repair.folder.with_edits` puts them on a model.
        chosen: the settings chosen, and what was measured at them, as JSON.
        choices: a row a setting tried: the settings; on held-out items `agreement` (see `Evidence.judge`),
            `pearson_all`, `pearson_yes`, `pearson_no`, `validator_auc`, `validator_accuracy`; on held-out texts
            `perplexity_ratio` (and `kl`, where it comes free); of a readout with kept tasks, on those held out,
            `kept_yes` and `kept_agreement` (see `KeptQuestions` in `accord.repair.readout`), and `balance`, what it is
            chosen by; `allowed` (within the budget), `chosen`.
    """

    edits: Sequence[StateEdit | Readout]
    chosen: Mapping[str, Any]
    choices: pd.DataFrame

    def on(self, lm: LanguageModel) -> LanguageModel:
        """The model that it was fitted on, repaired."""
        return with_edits(lm, self.edits)

    def save(self, folder: Path | str, *, base: str, about: Mapping[str, Any]) -> None:
        """Write the repaired model's folder, and `choices.parquet` beside the edits; see `save_edits`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.choices.to_parquet(folder / CHOICES, index=False)
        save_edits(self.edits, folder, base=base, about={**about, "chosen": _as_json(self.chosen)})


def _as_json(value: Any) -> Any:
    """With null for what is undefined, such as a correlation within a class of one item: JSON knows no NaN.

    >>> _as_json({"layers": [3], "held_out": {"auc": 0.9, "r": math.nan}})
    {'layers': [3], 'held_out': {'auc': 0.9, 'r': None}}
    """
    if isinstance(value, Mapping):
        return {key: _as_json(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def best_within(tried: Sequence[Mapping[str, Any]], budget: float, by: str = "agreement") -> tuple[int, pd.DataFrame]:
    """The setting with the highest held-out `by` among those within the budget of perplexity, and the table.

    Raises:
        AccordError: none is within the budget.
    """
    table = pd.DataFrame(list(tried))
    table["allowed"] = table["perplexity_ratio"] <= budget
    good = table[table["allowed"] & table[by].notna()]
    if good.empty:
        raise AccordError(
            "no setting of this repair stays within the budget of perplexity",
            got=f"a ratio of {table['perplexity_ratio'].min():.4f} at best",
            wanted=f"{budget} or less",
            fix="raise the budget, or try smaller strengths or factors",
        )
    best = int(good.index.to_numpy()[good[by].to_numpy().argmax()])
    table["chosen"] = table.index == best
    return best, table
