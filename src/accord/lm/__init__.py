"""Models under study: one contract, one boundary to transformers, scoring and generation over the contract.

Perplexity is in `accord.lm.perplexity`.
"""

from accord.lm.backbone import Backbone, load
from accord.lm.model import LanguageModel
from accord.lm.sampling import Sample, generate
from accord.lm.scoring import Query, Score, score

__all__ = ["Backbone", "LanguageModel", "Query", "Sample", "Score", "generate", "load", "score"]
