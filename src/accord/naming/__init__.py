"""The concept dictionary, annotators that name concepts, and scores of their names.

Names are imported when first used: the sections of annotators are read without torch.
"""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.naming.annotators import annotator_of
    from accord.naming.answers import Annotator, Answer, Names, annotate
    from accord.naming.config import AnyAnnotator, OpenAIAnnotator, TokensAnnotator, TransformersAnnotator
    from accord.naming.dictionary import Dictionary, Shown, Side, build_dictionary
    from accord.naming.scores import Scores, score_names

__all__ = [
    "Annotator",
    "Answer",
    "AnyAnnotator",
    "Dictionary",
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
    "score_names",
]

__getattr__ = exports(
    __name__,
    {
        "Annotator": "accord.naming.answers",
        "Answer": "accord.naming.answers",
        "AnyAnnotator": "accord.naming.config",
        "Dictionary": "accord.naming.dictionary",
        "Names": "accord.naming.answers",
        "OpenAIAnnotator": "accord.naming.config",
        "Scores": "accord.naming.scores",
        "Shown": "accord.naming.dictionary",
        "Side": "accord.naming.dictionary",
        "TokensAnnotator": "accord.naming.config",
        "TransformersAnnotator": "accord.naming.config",
        "annotate": "accord.naming.answers",
        "annotator_of": "accord.naming.annotators",
        "build_dictionary": "accord.naming.dictionary",
        "score_names": "accord.naming.scores",
    },
)
