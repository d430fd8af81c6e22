"""Can the texts, concepts, heads and perplexity of a study be made? Found out before any weights are loaded."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from accord.concepts.config import ImportedSection
from accord.embeddings.config import TextSection
from accord.errors import AccordError, nearest
from accord.lm.config import BackboneSection
from accord.names.config import NamesSection, OpenAIAnnotator, TransformersAnnotator
from accord.section import Layer
from accord.study.concept_stages import read_corpus
from accord.study.config import StudyFile
from accord.study.gap_stages import check_model
from accord.study.rows import BACKBONE, RANDOM, all_rows, known_rows, layers_of
from accord.text.catalog import TEXTS
from accord.text.sources import is_hub_name, is_local, no_such_source

Collected = Callable[..., AbstractContextManager[None]]


def problems(file: StudyFile, collected: Collected) -> list[AccordError]:
    """What is wrong with the sections about texts and concepts; fetches nothing."""
    from accord.study.steering_stages import check_steering

    found: list[AccordError] = []
    study = file.study
    if study.text is not None:
        with collected(found, file, ("text",), study.text):
            check_source(text_of(file), study.seeds[0])
    if study.perplexity is not None:
        with collected(found, file, ("perplexity",), study.perplexity):
            check_model(judge_of(file, study.perplexity.judge).model)
    if study.names is not None:
        with collected(found, file, ("names", "annotator"), study.names.annotator):
            _check_annotator(names_of(file))
    if study.steering is not None and study.text is not None:
        with collected(found, file, ("steering",), study.steering):
            check_steering(study.steering, study.text)
            if study.steering.judge is not None:
                check_model(judge_of(file, study.steering.judge).model)
    for index, section in enumerate(study.concepts):
        if isinstance(section, ImportedSection):
            with collected(found, file, ("concepts", index), section):
                check_imported(file, section, fetch=False)
    found += _without_text(file)
    found += _layers(file)
    found += _names(file)
    found += _unknown(file)
    return found


def text_of(file: StudyFile) -> TextSection:
    """The [text] section, with a path taken relative to the study file."""
    section = file.study.the(TextSection)
    assert section is not None
    beside = str(file.beside(section.source))
    return section.model_copy(update={"source": beside}) if is_local(beside) else section


def judge_of(file: StudyFile, judge: str) -> BackboneSection:
    """A judge as a model section: on the backbone's device, in its precision."""
    beside = file.beside(judge).absolute()
    model = str(beside) if beside.exists() else judge
    return file.study.backbone.model_copy(update={"model": model})


def names_of(file: StudyFile) -> NamesSection:
    """The [names] section, with a path to a model taken relative to the study file."""
    section = file.study.the(NamesSection)
    assert section is not None
    annotator = section.annotator
    if isinstance(annotator, TransformersAnnotator) and file.beside(annotator.model).exists():
        annotator = annotator.model_copy(update={"model": str(file.beside(annotator.model).absolute())})
    return section.model_copy(update={"annotator": annotator})


def _check_annotator(section: NamesSection) -> None:
    if isinstance(section.annotator, TransformersAnnotator):
        check_model(section.annotator.model)
    if isinstance(section.annotator, OpenAIAnnotator):
        section.annotator.key()


def layer_count(backbone: BackboneSection, *, fetch: bool) -> int:
    """How many layers a backbone has; AccordError, or 0 without `fetch`, where that takes fetching it."""
    return _shape(backbone, fetch)[0]


def width(backbone: BackboneSection, *, fetch: bool) -> int | None:
    """How wide its states are; None where its config.json does not say, or where `layer_count` is 0."""
    return _shape(backbone, fetch)[1]


def _shape(backbone: BackboneSection, fetch: bool) -> tuple[int, int | None]:
    from accord.lm.catalog import CATALOG, resolve

    if backbone.model in CATALOG and not Path(backbone.model).exists():
        return CATALOG[backbone.model].layers, CATALOG[backbone.model].width
    if not fetch and not Path(backbone.model).expanduser().is_dir():
        return 0, None
    from accord.lm.opening import read_config

    text = read_config(resolve(backbone.model).folder).get_text_config()
    return int(text.num_hidden_layers), getattr(text, "hidden_size", None)


def check_imported(file: StudyFile, section: ImportedSection, *, fetch: bool) -> None:
    """AccordError unless a dictionary is there and does what the study asks of it; without `fetch`, if it is here."""
    from accord.study.imported_stages import dictionary, imported_of
    from accord.study.validate import backbone_of

    source, backbone = imported_of(file, section).source, backbone_of(file)
    if not fetch and not Path(source).expanduser().is_dir():
        if not re.fullmatch(r"\w[\w.\-]*(/\w[\w.\-]*)+", source):
            fix = "name a folder, or one on the hub: org/name/folder"
            raise AccordError("There is no such folder.", got=repr(section.source), fix=fix)
        return
    model, depth = dictionary(source), layer_count(backbone, fetch=fetch)
    model.check_decodes("a study", alike=_reads_off_decoders(file, section))
    for layer in layers_of(file.study, section):
        if layer != "last" or depth:
            model.check_layer(depth if layer == "last" else layer)
    if (wide := width(backbone, fetch=fetch)) not in (None, model.d):
        raise AccordError("This dictionary is for states of another width.", where=source, got=model.d, wanted=wide)


def _reads_off_decoders(file: StudyFile, section: ImportedSection) -> bool:
    """Whether the study asks what each concept writes."""
    study = file.study
    latents = any(row.concepts == section and row.head.reads == "latents" for row in all_rows(study))
    return latents or any(part is not None for part in (study.names, study.steering, study.explain))


def check_source(section: TextSection, seed: int) -> None:
    """AccordError unless the texts are there, or can be fetched by that name."""
    if is_local(section.source):
        read_corpus(section, seed)
    elif section.source not in TEXTS and not is_hub_name(section.source):
        raise no_such_source(section.source)


def _without_text(file: StudyFile) -> Iterator[AccordError]:
    study = file.study
    if study.text is None:
        for key, there in (("concepts", study.concepts), ("heads", study.heads), ("perplexity", study.perplexity)):
            if there:
                yield AccordError("This needs texts.", where=file.where((key,)), wanted="a [text] section")


def _layers(file: StudyFile) -> Iterator[AccordError]:
    """Layers that the backbone does not have, where its depth is known without fetching it."""
    from accord.study.validate import backbone_of

    study = file.study
    places: list[tuple[tuple[Any, ...], list[Layer]]] = [(("backbone", "layer"), study.backbone.layer)]
    places += [(("concepts", i, "layers"), section.layers or []) for i, section in enumerate(study.concepts)]
    if all(layer == "last" for _, layers in places for layer in layers):
        return
    try:
        depth = layer_count(backbone_of(file), fetch=False)
    except AccordError:  # told where the model is checked
        return
    for place, layers in places:
        for layer in layers:
            if depth and layer != "last" and layer > depth:
                wanted = f"0 to {depth} in {study.backbone.model}"
                yield AccordError("No such layer.", where=file.where(place), got=layer, wanted=wanted)


def _names(file: StudyFile) -> Iterator[AccordError]:
    """Concept models or rows that would share a folder."""
    study = file.study
    seen: set[str] = set()
    for index, section in enumerate(study.concepts):
        if section.title.casefold() in seen:
            where, fix = file.where(("concepts", index)), 'give one of them a name: name = "…"'
            yield AccordError("Two [[concepts]] have the same name.", where=where, got=section.title, fix=fix)
        seen.add(section.title.casefold())
    if len(set(study.seeds)) != len(study.seeds):
        yield AccordError("A seed is given twice.", where=file.where(("seeds",)), got=study.seeds)
    if min(study.seeds) < 0 and study.text is not None:
        yield AccordError("A seed is below 0.", where=file.where(("seeds",)), got=min(study.seeds))
    if len(seen) < len(study.concepts):
        return
    counts = Counter(row.label.casefold() for row in all_rows(study))
    twice = [label for label, count in counts.items() if count > 1 or label == RANDOM]
    if twice and study.heads:
        fix = 'give one of them a name: name = "…"'
        yield AccordError("Two [[heads]] make the same row.", where=file.where(("heads",)), got=twice[0], fix=fix)


def _unknown(file: StudyFile) -> Iterator[AccordError]:
    """Names of concepts and rows that nothing in the study makes."""
    study = file.study
    titles = [section.title for section in study.concepts]
    for index, head in enumerate(study.heads):
        reads = head.reads != "embedding"
        if reads and (not titles or head.concepts not in ("all", *titles)):
            where, got = file.where(("heads", index, "concepts")), repr(head.concepts)
            wanted = nearest(head.concepts, ["all", *titles]) if titles else "a [[concepts]] section"
            yield AccordError("No [[concepts]] has this name.", where=where, got=got, wanted=wanted)
    rows = study.perplexity.rows if study.perplexity is not None else "all"
    for row in rows if rows != "all" else []:
        if row not in known_rows(study):
            where = file.where(("perplexity", "rows"))
            yield AccordError("No such row.", where=where, got=repr(row), wanted=nearest(row, known_rows(study)))
    yield from _concepts_asked(file, titles)
    made = [row.label for row in all_rows(study)]
    for index, section in enumerate(study.gap):
        if section.model != BACKBONE and section.model not in made:
            where, got = file.where(("gap", index, "model")), repr(section.model)
            wanted = nearest(section.model, [BACKBONE, *made])
            yield AccordError("The study makes no such model.", where=where, got=got, wanted=wanted)


def _concepts_asked(file: StudyFile, titles: list[str]) -> Iterator[AccordError]:
    """Concepts that [names], [steering] and [explain] ask for and nothing makes."""
    study = file.study
    asked: dict[str, list[str]] = {}
    if study.names is not None:
        asked["names"] = [study.names.concepts]
    if study.steering is not None:
        asked["steering"] = ["all"] if study.steering.concepts == "all" else study.steering.concepts
    if study.explain is not None:
        asked["explain"] = ["all"]
    for key, names in asked.items():
        if not titles:
            yield AccordError("There are no concepts.", where=file.where((key,)), wanted="a [[concepts]] section")
        for name in names if titles else []:
            if name not in ("all", *titles):
                where, wanted = file.where((key, "concepts")), nearest(name, ["all", *titles])
                yield AccordError("No [[concepts]] has this name.", where=where, got=repr(name), wanted=wanted)
