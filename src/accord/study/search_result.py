"""A search as its run folder keeps it: what is sought, over which ranges, and what every trial gave."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from accord.disk import read_object, write_whole
from accord.errors import AccordError
from accord.study.ranges import Choices, Interval, kind_of
from accord.study.search_config import SEARCH, TABLE, SearchSection
from accord.study.trials import SearchTrial

_AGAIN = "run accord search again"


@dataclass(frozen=True)
class SearchedRange:
    """A range by its name in the tables of trials."""

    name: str
    values: Interval | Choices

    @property
    def choices(self) -> list[str]:
        """The values of choices as text; empty for an interval."""
        return [_text(choice) for choice in self.values.choices] if isinstance(self.values, Choices) else []

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value; of choices, the first and the last place."""
        if isinstance(self.values, Choices):
            return 0.0, len(self.values.choices) - 1.0
        return float(self.values.low), float(self.values.high)

    @property
    def log(self) -> bool:
        """Whether the logarithm is drawn evenly."""
        return isinstance(self.values, Interval) and self.values.log

    @property
    def whole(self) -> bool:
        """Whether it is one of whole numbers."""
        return isinstance(self.values, Interval) and self.values.whole

    def cell(self, value: Any) -> Any:
        """A value in the table: choices as text, since a column of several types would not come back as it was."""
        return _text(value) if isinstance(self.values, Choices) else value


@dataclass(frozen=True)
class SearchResult:
    """A search and its finished trials.

    Attributes:
        section: what is sought, and how values are drawn.
        fingerprint: of all that the values of trials depend on: other than this, they cannot be compared.
        trials: columns `trial`, `value`, `failed` (the reason; NaN where there is none) and one a range; no rows while
            none is finished.
    """

    section: SearchSection
    ranges: Sequence[SearchedRange]
    fingerprint: str
    trials: pd.DataFrame = field(default_factory=pd.DataFrame)

    def with_trials(self, trials: Sequence[SearchTrial]) -> "SearchResult":
        """The same search with these finished trials, in their order."""
        rows = [
            {
                "trial": trial.number,
                "value": trial.value,
                **{span.name: span.cell(trial.values[span.name]) for span in self.ranges},
                "failed": trial.reason,
            }
            for trial in trials
        ]
        return replace(self, trials=pd.DataFrame(rows))

    def write(self, folder: Path) -> None:
        """Write `search.json` and, where there are trials, `trials.csv`."""
        for name, text in self.texts().items():
            write_whole(folder / name, text)

    def texts(self) -> dict[str, str]:
        """What is in the files that hold it, by their names; in the table the value is called by the objective."""
        ranges = [{"name": span.name, **span.values.model_dump(exclude_none=True)} for span in self.ranges]
        sought = {**self.section.model_dump(), "ranges": ranges, "fingerprint": self.fingerprint}
        texts = {SEARCH: json.dumps(sought, indent=2, ensure_ascii=False) + "\n"}
        if not self.trials.empty:
            texts[TABLE] = self.trials.rename(columns={"value": self.section.objective}).to_csv(index=False)
        return texts

    @classmethod
    def read(cls, folder: Path) -> "SearchResult":
        """What `write` wrote.

        Raises AccordError if a file is damaged.
        """
        sought = read_object(folder / SEARCH, "objective", "direction", "ranges", "fingerprint")
        try:
            ranges = [_range(table) for table in sought.pop("ranges")]
            fingerprint = str(sought.pop("fingerprint"))
            section = SearchSection.model_validate(sought)
            trials = _trials(folder / TABLE, section.objective, ranges)
        except (OSError, ValueError, LookupError, TypeError) as error:
            got = f"{type(error).__name__}: {error}"
            raise AccordError("This search cannot be read.", where=folder, got=got, fix=_AGAIN) from error
        return cls(section, ranges, fingerprint, trials)

    @property
    def done(self) -> pd.DataFrame:
        """The trials with a value, the best first."""
        known = self.trials[self.trials["value"].notna()]
        return known.sort_values(["value", "trial"], ascending=[self.section.direction == "minimize", True])

    @property
    def failed(self) -> pd.DataFrame:
        """The trials that gave none."""
        return self.trials[self.trials["value"].isna()]


def _text(choice: Any) -> str:
    return choice if isinstance(choice, str) else json.dumps(choice, ensure_ascii=False)


def _range(table: dict[str, Any]) -> SearchedRange:
    values = {key: value for key, value in table.items() if key != "name"}
    return SearchedRange(table["name"], kind_of(values).model_validate(values))


def _trials(path: Path, objective: str, ranges: Sequence[SearchedRange]) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame()
    text = {span.name: str for span in ranges if span.choices}  # among which "NA" and "" are words like others
    empty = {objective: [""], "failed": [""]}
    table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=empty)
    return table[["trial", objective, *(span.name for span in ranges), "failed"]].rename(columns={objective: "value"})
