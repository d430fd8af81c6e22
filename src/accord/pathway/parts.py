"""Tables that a killed run finds again."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd


def once(parts: Path | None, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The table `name` of the folder `parts` if it is there, else made and put there, whole or not at all."""
    if parts is None:
        return make()
    path = parts / f"{name}.parquet"
    if path.exists():
        return pd.read_parquet(path)
    table = make()
    parts.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    table.to_parquet(aside, index=False)
    aside.replace(path)
    return table
