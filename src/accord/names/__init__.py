"""The concept dictionary, annotators that name concepts, and scores of their names.

Names are imported when first used: the sections of annotators are read without torch.
"""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.names.annotators import annotator_of
    from accord.names.answers import Annotator, Answer, Names, annotate
    from accord.names.config import AnyAnnotator, OpenAIAnnotator, TokensAnnotator, TransformersAnnotator
    from accord.names.dictionary import Dictionary, Shown, Side, build_dictionary
    from accord.names.neuronpedia import FeatureSource, export_neuronpedia
    from accord.names.scores import Scores, score_names

__all__ = [
    "Annotator",
    "Answer",
    "AnyAnnotator",
    "Dictionary",
    "FeatureSource",
    "Names",
    "OpenAIAnnotator",
    "Scores",
    "Shown",
    "Side",
    "TokensAnnotator",
    "TransformersAnnotator",
    "annotate",
    "annotator_of",
    "build_dictionary",
    "export_neuronpedia",
    "score_names",
]

__getattr__, __dir__ = exports(__name__)
