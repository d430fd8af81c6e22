"""Models under study: one contract, one boundary to transformers, and scoring over the contract."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.lm.backbone import Backbone, load
    from accord.lm.model import LanguageModel
    from accord.lm.scoring import Query, Score, score

__all__ = ["Backbone", "LanguageModel", "Query", "Score", "load", "score"]

__getattr__ = exports(
    __name__,
    {
        "Backbone": "accord.lm.backbone",
        "LanguageModel": "accord.lm.model",
        "Query": "accord.lm.scoring",
        "Score": "accord.lm.scoring",
        "load": "accord.lm.backbone",
        "score": "accord.lm.scoring",
    },
)
