"""Concept models: learn concepts on embeddings, judge, edit, exchange them. Knows no language model."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.concepts.base import ConceptModel, Edit, Encoded, Scale, Set, Sparse
    from accord.concepts.config import ConceptConfig, Training, read_config, register
    from accord.concepts.dictionaries import import_dictionary
    from accord.concepts.imported import Imported
    from accord.concepts.kinds import build, load, save
    from accord.concepts.metrics import ce_recovered, evaluate
    from accord.concepts.quality import Quality
    from accord.concepts.saelens import export_saelens, import_saelens
    from accord.concepts.sparse import Pattern, sparse_decode, sparse_encode
    from accord.concepts.step import Step
    from accord.concepts.synthetic import (
        Match,
        Superposition,
        ablation_effects,
        class_purity,
        concept_directions,
        intervention_consistency,
        match,
        mutual_information_gap,
    )
    from accord.concepts.train import Fit, fit

__all__ = [
    "ConceptConfig",
    "ConceptModel",
    "Edit",
    "Encoded",
    "Fit",
    "Imported",
    "Match",
    "Pattern",
    "Quality",
    "Scale",
    "Set",
    "Sparse",
    "Step",
    "Superposition",
    "Training",
    "ablation_effects",
    "build",
    "ce_recovered",
    "class_purity",
    "concept_directions",
    "evaluate",
    "export_saelens",
    "fit",
    "import_dictionary",
    "import_saelens",
    "intervention_consistency",
    "load",
    "match",
    "mutual_information_gap",
    "read_config",
    "register",
    "save",
    "sparse_decode",
    "sparse_encode",
]

__getattr__, __dir__ = exports(__name__)
