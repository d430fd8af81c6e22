"""Edits of a running model's states: directions, and concepts turned off or up; and what that does to what it says."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.steering.arms import Dose, equal_rates
    from accord.steering.choosing import associated, live, pick, promoted_labels, token_labels
    from accord.steering.edits import AddDirection, AmplifyDirection, EditConcepts, SameNorm
    from accord.steering.effects import promoted_effects, written_effects
    from accord.steering.open import open_target, train_store, typical_of
    from accord.steering.promotion import promoted, promoted_along
    from accord.steering.reading import Reading
    from accord.steering.result import Effects
    from accord.steering.scorers import Classifier, Scorer, Sentiment, fit_classifier, store_means, text_means
    from accord.steering.target import Target, steer
    from accord.steering.typical import Typical, measure_typical
    from accord.steering.writing import NEUTRAL, Writing

__all__ = [
    "NEUTRAL",
    "AddDirection",
    "AmplifyDirection",
    "Classifier",
    "Dose",
    "EditConcepts",
    "Effects",
    "Reading",
    "SameNorm",
    "Scorer",
    "Sentiment",
    "Target",
    "Typical",
    "Writing",
    "associated",
    "equal_rates",
    "fit_classifier",
    "live",
    "measure_typical",
    "open_target",
    "pick",
    "promoted",
    "promoted_along",
    "promoted_effects",
    "promoted_labels",
    "steer",
    "store_means",
    "text_means",
    "token_labels",
    "train_store",
    "typical_of",
    "written_effects",
]

__getattr__, __dir__ = exports(__name__)
