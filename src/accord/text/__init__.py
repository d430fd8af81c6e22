"""Texts and their embeddings: corpora, extraction into a store, reading it back, and how repetitive texts are."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.text.corpora import Corpus, corpus
    from accord.text.diversity import measure_diversity
    from accord.text.embeddings import extract
    from accord.text.reader import Batch, batches, in_order
    from accord.text.store import EmbeddingStore

__all__ = [
    "Batch",
    "Corpus",
    "EmbeddingStore",
    "batches",
    "corpus",
    "extract",
    "in_order",
    "measure_diversity",
]

__getattr__, __dir__ = exports(__name__)
