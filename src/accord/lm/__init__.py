"""Models under study: one contract, one boundary to transformers, and scoring and sampling over the contract.

Perplexity is in `accord.lm.perplexity`: module and function share their name.
"""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.lm.backbone import Backbone
    from accord.lm.model import LanguageModel
    from accord.lm.opening import load
    from accord.lm.sampling import Sample, generate
    from accord.lm.scoring import Query, Score, score

__all__ = ["Backbone", "LanguageModel", "Query", "Sample", "Score", "generate", "load", "score"]

__getattr__, __dir__ = exports(__name__)
