"""Stages that turn concepts off and up and measure what it does: one for each concept model of the first seed."""

from collections.abc import Iterator

import pandas as pd

from accord.concepts.stage import ConceptNode, check_concepts, concepts_for
from accord.embeddings.config import TextSection
from accord.embeddings.result import Embeddings
from accord.embeddings.stage import column_of_labels, embeddings
from accord.errors import AccordError
from accord.steering.config import SteeringSection, check_sentiment
from accord.steering.result import Effects
from accord.study.plan import Named, Plan
from accord.study.stage import Needs, Stage
from accord.study.work import Work

VERSION = 4  # raise it when the same settings give other files or numbers
_WRITTEN = 3  # concepts steered while texts are written, where nothing else is asked for


def stages(plan: Plan) -> Iterator[Stage]:
    """One for each concept model that the section names."""
    section = plan.the(SteeringSection)
    if section is None:
        return
    names = ["all"] if section.concepts == "all" else section.concepts
    check_concepts(plan, "steering", names)
    with plan.at("steering", section=section):
        section = checked_steering(section, plan.the(TextSection))
        if section.written:
            check_label(section, column_of_labels(plan))
        judge = None if section.judge is None else plan.named(plan.model(section.judge))
        for node in concepts_for(plan, names):
            yield steering_stage(plan, section, node, judge)


def steering_stage(plan: Plan, section: SteeringSection, node: ConceptNode, judge: Named | None) -> Stage:
    """Measure what turning concepts of a concept model off and up does; `judge` reads the texts that are written."""
    inputs = {"embeddings": embeddings(plan), "concepts": node.stage}

    def make(work: Work) -> Effects:
        from accord.steering.measure import measure_effects

        lm = work.backbone(plan.backbone)
        model = node.load(work, lm)
        about = {"name": node.title, "kind": model.settings()["model"]["kind"], "layer": node.at, "seed": node.seed}
        return measure_effects(
            lm,
            model,
            node.at,
            Embeddings.read(work.at(inputs["embeddings"])),
            section,
            seed=node.seed,
            judge=None if judge is None else judge.load(work),
            about=about,
            parts=work.parts,
            progress=work.progress,
            measured=work.all_parts_made,
        )

    settings = {
        "section": section.model_dump(exclude={"concepts", "judge"}),
        "judge": judge and judge.identity,
        "layer": node.number,
    }
    models = [plan.backbone, *([] if judge is None else [judge.section])]
    needs = lambda: Needs(plan.weights(*models))  # noqa: E731
    return Stage(
        "steering", node.stage.label, make, settings, node.seed, VERSION, inputs, needs, spreads=True, seconds=20
    )


def check_label(section: SteeringSection, labels: pd.Series | None) -> None:
    """AccordError if the texts' labels cannot say what texts are steered toward, or who tells is not here.

    Args:
        labels: those of a study's texts, or of a sample of them; None where they must be fetched first.
    """
    if section.scorer == "sentiment":
        check_sentiment()
    if labels is None:
        return
    known = labels.dropna()
    words = ", ".join(sorted(map(str, known.unique()))[:10])
    if section.label is None and not pd.api.types.is_numeric_dtype(known):
        problem = "These labels are no numbers: which one should texts be steered toward?"
        raise AccordError(problem, where="[steering] label", wanted=words)
    if section.label is not None and section.label not in set(map(str, known)):
        raise AccordError("No text has this label.", where="[steering] label", got=section.label, wanted=words)


def checked_steering(section: SteeringSection, text: TextSection | None) -> SteeringSection:
    """The section with what follows from the texts: they can be steered only toward a label.

    Raises AccordError where it asks for that, and they have none.
    """
    labelled = text is not None and text.label is not None
    if section.written is None:
        return section.model_copy(update={"written": _WRITTEN if labelled else 0})
    if section.written and text is not None and not labelled:
        raise AccordError(
            "Concepts are steered toward a label, and the texts have none.",
            where="[steering] written",
            got=section.written,
            fix='name a column of labels: [text] label = "sentiment"; or set written = 0',
        )
    return section
