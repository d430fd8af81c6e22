"""Embeddings of a corpus: two stores, the texts in them, and the facts of the corpus."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from accord.disk import read_object, write_json
from accord.intervals import Interval

if TYPE_CHECKING:
    from accord.text import EmbeddingStore

TRAIN, HELD_OUT = "train", "held_out"
_CORPUS = "corpus.json"


@dataclass(frozen=True)
class Embeddings:
    """The embeddings that `accord embed` extracts.

    Attributes:
        folder: of the two stores.
        corpus: source, fingerprint, texts, held_out, duplicates, documents, rejected (reason -> rows, first), said (in
            words), and the tokens of both sides: train_tokens, held_out_tokens.
    """

    folder: Path
    corpus: Mapping[str, Any]

    def store(self, side: str) -> "EmbeddingStore":
        """The embeddings of a side, "train" or "held_out"."""
        from accord.text import EmbeddingStore

        return EmbeddingStore(self.folder / side)

    def table(self, side: str) -> pd.DataFrame:
        """The texts of a side whose embeddings are stored, a row each, with what the corpus says of them."""
        return pd.read_parquet(self.folder / f"{side}_texts.parquet")

    def texts(self, side: str) -> list[str]:
        """The texts alone, in their order."""
        return list(self.table(side)["text"])

    def write(self, folder: Path) -> None:
        """Write corpus.json; the stores are written as they are extracted."""
        write_json(folder / _CORPUS, self.corpus)

    def headline(self) -> str:
        """How many tokens there are."""
        return f"{self.corpus.get('train_tokens', 0):,} tokens, and {self.corpus.get('held_out_tokens', 0):,} held out"

    @classmethod
    def read(cls, folder: Path) -> "Embeddings":
        """What is in a folder of embeddings."""
        return cls(folder, read_object(folder / _CORPUS))

    def measures(self) -> dict[str, Interval]:
        """Numbers of texts and of tokens."""
        names = ("texts", "held_out", "train_tokens", "held_out_tokens")
        known = {name: self.corpus[name] for name in names if name in self.corpus}
        return {name: {"value": number, "low": None, "high": None} for name, number in known.items()}


RESULTS = {"embeddings": Embeddings}
