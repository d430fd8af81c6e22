"""Next-token heads on a layer or its concepts, and the concept language model that they make."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.heads.concept_lm import ConceptLM
    from accord.heads.config import (
        FinetunedHead,
        FinetuneTraining,
        HeadConfig,
        HeadTraining,
        NewHead,
        OriginalHead,
        read_head,
        register,
    )
    from accord.heads.folder import is_concept_lm, load_concept_lm, save_concept_lm
    from accord.heads.head import Finetuned, Head
    from accord.heads.initial import build_head
    from accord.heads.linear import Linear
    from accord.heads.reader import Reader, latents
    from accord.heads.recovered import Recovered, recovered_on_rows, recovered_on_texts
    from accord.heads.train import cross_entropy, train_head, unigram_ce
    from accord.heads.vocabulary import Rows, Vocabulary, next_counts
    from accord.lm.splice import replaced

__all__ = [
    "ConceptLM",
    "FinetuneTraining",
    "Finetuned",
    "FinetunedHead",
    "Head",
    "HeadConfig",
    "HeadTraining",
    "Linear",
    "NewHead",
    "OriginalHead",
    "Reader",
    "Recovered",
    "Rows",
    "Vocabulary",
    "build_head",
    "cross_entropy",
    "is_concept_lm",
    "latents",
    "load_concept_lm",
    "next_counts",
    "read_head",
    "recovered_on_rows",
    "recovered_on_texts",
    "register",
    "replaced",
    "save_concept_lm",
    "train_head",
    "unigram_ce",
]

__getattr__, __dir__ = exports(__name__)
