"""The concept models of a run as its page groups them: those that differ in nothing but their seed."""

from collections.abc import Sequence

from accord.concepts.result import ConceptMetrics
from accord.report.metric import Metric
from accord.report.seeds import SeedGroup, SeedResult, grouped, relabelled
from accord.study.run_folder import Run

GATED = ("bernoulli", "lcblm", "lcblm-shared")  # kinds whose gates can be read soft or hard


def concept_groups(run: Run) -> list[SeedGroup]:
    """The concept models, in the order of the study."""
    models = run.of(ConceptMetrics).items()
    groups = grouped(SeedResult(f"concepts/{label}", model.metrics, model.curve) for label, model in models)
    names = names_of(groups)
    return relabelled(groups, names, [f"{group.named('name')}, layer {place_of(group)}" for group in groups])


def place_of(group: SeedGroup) -> str:
    """The layer that it reads and reconstructs: `17`; of a transcoder both, `17 to 18`."""
    return " to ".join(number for number in (group.named("layer"), group.named("target")) if number)


def names_of(groups: Sequence[SeedGroup]) -> list[str]:
    """What the study calls them."""
    return [group.named("name") for group in groups]


def is_gated(group: SeedGroup) -> bool:
    """Whether soft and hard gates are two different readings of this concept model."""
    return group.named("kind") in GATED or group.values("r2") != group.values("r2_hard")


def best_r2(group: SeedGroup) -> Metric:
    """R² as the model counts its concepts: L0 is that of hard gates, so R² must be too."""
    return group.metric("r2_hard")
