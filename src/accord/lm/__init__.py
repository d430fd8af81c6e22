"""Models under study: one contract, one boundary to transformers, and scoring over the contract."""

from accord.lm.backbone import Backbone, load
from accord.lm.model import LanguageModel
from accord.lm.scoring import Query, Score, score

__all__ = ["Backbone", "LanguageModel", "Query", "Score", "load", "score"]
