"""The stage that makes the dictionary of a concept model, has its concepts named, and scores the names."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.concepts.stage import check_concepts, concepts_for
from accord.embeddings.result import HELD_OUT, TRAIN, Embeddings
from accord.embeddings.stage import embeddings
from accord.errors import AccordError
from accord.lm.config import BackboneSection
from accord.names.config import NamesSection, OpenAIAnnotator, TransformersAnnotator
from accord.names.result import NamedDictionary
from accord.study.manifest import UNFINISHED
from accord.study.plan import Plan
from accord.study.stage import Needs, Stage
from accord.study.work import Work
from accord.unfinished import discard, is_intact, kept, remove

if TYPE_CHECKING:
    from accord.concepts import ConceptModel
    from accord.lm import Backbone
    from accord.names import Dictionary, Names
    from accord.names.answers import Annotator
    from accord.names.judges import Judge

VERSION = 3  # raise it when the same settings give other files or numbers
_PART = "dictionary"


@dataclass(frozen=True)
class ConceptsToName:
    """A concept model to be named, and the embeddings that it is seen on.

    Attributes:
        backbone: the model that both were made on.
        layer: its number; None where that takes fetching the backbone.
    """

    backbone: BackboneSection
    embeddings: Stage
    concepts: Stage
    layer: int | None


def stages(plan: Plan) -> Iterator[Stage]:
    """Dictionaries of the concept models of the first seed."""
    section = plan.the(NamesSection)
    if section is None:
        return
    check_concepts(plan, "names", [section.concepts])
    with plan.at("names", "annotator", section=section.annotator):
        annotator = section.annotator
        identity: dict[str, Any] | None = None
        named: BackboneSection | None = None
        if isinstance(annotator, TransformersAnnotator):
            model = plan.model(annotator.model).model
            named = BackboneSection(model=model, device=annotator.device, dtype=annotator.dtype)
            annotator = annotator.model_copy(update={"model": model})
            identity = plan.named(named).identity
        if isinstance(annotator, OpenAIAnnotator):
            annotator.key()
        section = section.model_copy(update={"annotator": annotator})
        for node in concepts_for(plan, [section.concepts]):
            about = ConceptsToName(plan.backbone, embeddings(plan), node.stage, node.number)
            stage = names_stage(section, about, plan.seed, identity)
            needs = stage.needs if named is None else partial(_needs, plan, named)
            reach = partial(_reach, annotator) if isinstance(annotator, OpenAIAnnotator) else None
            yield replace(stage, needs=needs, reach=reach)


def _reach(annotator: OpenAIAnnotator) -> None:
    from accord.names.server import ServerAnnotator

    ServerAnnotator(annotator).reach()


def _needs(plan: Plan, annotator: BackboneSection) -> Needs:
    """Both models, where they are on one device."""
    together = [plan.backbone, *([annotator] if annotator.device == plan.backbone.device else [])]
    return Needs(plan.weights(*together))


def names_stage(
    section: NamesSection, about: ConceptsToName, seed: int, annotator_identity: dict[str, Any] | None = None
) -> Stage:
    """Dictionary, names and scores of a concept model.

    Args:
        annotator_identity: of an annotator that runs here, see `accord.study.plan.identity`.
    """

    def make(work: Work) -> NamedDictionary:
        from accord.names import annotate, annotator_of, score_names
        from accord.names.answers import FAILURES, failures_of

        annotator = annotator_of(section.annotator)  # a missing key is an error before anything is read
        lm = work.backbone(about.backbone)
        dictionary = _dictionary(section, about, seed, lm, work)
        chosen = _choose(dictionary.concepts, section.limit, seed)
        shown = section.examples
        names = annotate(annotator, chosen, dictionary.examples, work.folder, shown=shown, progress=work.progress)
        if not names.answers:
            raise _nothing(names)
        scores = None
        if section.scores:
            judge = _judge(annotator, lm, work.folder)
            scores = score_names(judge, names.answers, dictionary.examples, seed=seed)
        counts = {"live": len(dictionary.concepts), "asked": len(chosen), "named": len(names.answers)}
        metrics = {"concepts": about.concepts.label, "annotator": section.annotator.kind, "seed": seed, **counts}
        metrics |= {"failed": len(names.failures), **({} if scores is None else scores.summary)}
        left = sum(not failure.get("for_good") for failure in failures_of(work.folder).values())
        if left and section.annotator.kind == "openai":  # a server may do better next time, the others will not
            notice = f"{left} of what was asked has no answer ({FAILURES}); the same command asks for that again"
            work.facts[UNFINISHED] = notice
        else:
            remove(work.folder / _PART)
        return NamedDictionary.of(dictionary, names, None if scores is None else scores.table, metrics)

    settings = {
        "layer": about.layer,
        "annotator": section.annotator.model_dump(exclude=section.annotator.manner) | (annotator_identity or {}),
        **section.model_dump(include={"limit", "examples", "held_out", "scores"}),
    }
    inputs = {"embeddings": about.embeddings, "concepts": about.concepts}
    return Stage("names", about.concepts.label, make, settings, seed, VERSION, inputs, seconds=5)


def _dictionary(section: NamesSection, about: ConceptsToName, seed: int, lm: "Backbone", work: Work) -> "Dictionary":
    """The dictionary, kept in the folder while its concepts are being named."""
    from accord.concepts import load
    from accord.names import Dictionary, Shown, Side, build_dictionary

    place = work.folder / _PART
    if not is_intact(place):
        discard(place)
        model: ConceptModel = load(work.at(about.concepts), lm.device)
        texts = Embeddings.read(work.at(about.embeddings))
        shown = Shown(held_out=section.held_out, top=max(12, section.examples))
        train, held_out = (Side(texts.store(side), texts.table(side)) for side in (TRAIN, HELD_OUT))
        assert about.layer is not None  # known when anything is made
        with kept(place, folder=True) as aside:
            build_dictionary(model, lm, about.layer, train, held_out, shown=shown, seed=seed).write(aside)
    return Dictionary.read(place)


def _nothing(names: "Names") -> AccordError:
    first = dict.fromkeys(names.failures.values())
    return AccordError(
        "No concept got a name.",
        got="; ".join([*first][:3]),
        fix="mend that, or take another annotator, then run again",
    )


def _choose(concepts: Any, limit: int | None, seed: int) -> Any:
    import numpy as np

    if limit is None or limit >= len(concepts):
        return concepts
    drawn = np.random.default_rng(seed).choice(len(concepts), limit, replace=False)
    return concepts.iloc[np.sort(drawn)]


def _judge(annotator: "Annotator", lm: "Backbone", folder: Path) -> "Judge":
    from accord.names.annotators import Local, Tokens
    from accord.names.judges import ListJudge, LogOddsJudge, TokensJudge

    if isinstance(annotator, Local):
        return LogOddsJudge(annotator.lm)
    if isinstance(annotator, Tokens):
        return TokensJudge(lm.tokenizer)
    return ListJudge(annotator, folder)
