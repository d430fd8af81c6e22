"""Can the repairs of a study be made and tried? Found out before any weights are loaded."""

from collections.abc import Iterator

from accord.embeddings.config import TextSection
from accord.errors import AccordError, nearest
from accord.repair.config import check_labels, repair_config
from accord.study.config import StudyFile
from accord.study.damage_stages import Asked
from accord.study.repair_plan import all_trials, damage_of, training_items
from accord.study.validate import backbone_of
from accord.study.validate_concepts import Collected, check_source
from accord.verdict.config import VerdictSection


def problems(file: StudyFile, collected: Collected) -> list[AccordError]:
    """What is wrong with the sections from [[repair]] to [pathway]; fetches nothing."""
    found: list[AccordError] = []
    study = file.study
    training = {}
    for i, section in enumerate(study.repair):
        with collected(found, file, ("repair", i), section):
            training[section.title] = training_items(file, section)
            check_labels(training[section.title], repair_config(section))
    if study.repair and not found:
        verdict = study.verdict or VerdictSection()
        with collected(found, file, ("verdict",) if study.verdict else ("repair", 0), verdict):
            all_trials(file, training)
    if study.pathway is not None:
        with collected(found, file, ("pathway",), study.pathway):
            for task in training.values():
                task.labels.check_yes_or_no("a pathway", task.name)
    if study.damage is not None:
        with collected(found, file, ("damage",), study.damage):
            damage = damage_of(file)
            texts = TextSection(source=damage.texts, column=damage.column, held_out=damage.held_out)
            check_source(texts, study.seeds[0])
            Asked.of(damage, None, backbone_of(file), study.seeds[0])
    found += [AccordError(f"{file.where(place)}\n  " + str(error).replace("\n", "\n  ")) for place, error in _all(file)]
    return found


def _all(file: StudyFile) -> Iterator[tuple[tuple[str | int, ...], AccordError]]:
    """What is wrong with the repairs as they name each other and concepts, with the place."""
    study = file.study
    titles = [section.title for section in study.repair]
    concepts = [section.title for section in study.concepts]
    plain = [section.title for section in study.repair if section.after is None]
    for i, section in enumerate(study.repair):
        if titles.index(section.title) != i:
            fix = 'give one of them a name: name = "…"'
            yield ("repair", i), AccordError("Two repairs have the same name.", got=section.title, fix=fix)
        if section.after is not None and section.after not in plain:
            wanted = nearest(section.after, [one for one in plain if one != section.title])
            yield ("repair", i, "after"), AccordError("No such repair to go on from.", got=section.after, wanted=wanted)
        if section.after is not None and section.trained:
            fix = "leave out after, or use readout, calibrate, direction or concepts"
            yield (
                ("repair", i, "after"),
                AccordError("A repair by training starts from the backbone.", got=section.kind, fix=fix),
            )
        if section.edits_concepts and section.model not in concepts:
            wanted = nearest(section.model, concepts) or "a [[concepts]] section of that name"
            yield ("repair", i, "model"), AccordError("No such concepts.", got=section.model, wanted=wanted)
    yield from _of_no_repair(file, titles, concepts)


def _of_no_repair(
    file: StudyFile, titles: list[str], concepts: list[str]
) -> Iterator[tuple[tuple[str | int, ...], AccordError]]:
    """Sections about repairs that name what the study does not have."""
    study = file.study
    for name in ("verdict", "damage", "pathway"):
        if getattr(study, name) is not None and not titles:
            yield (name,), AccordError("There is no repair that this section is about.", wanted="a [[repair]] section")
    if study.pathway is None:
        return
    for title in study.pathway.repairs:
        if titles and title not in titles:
            wanted = nearest(title, titles)
            yield ("pathway", "repairs"), AccordError("No such repair.", got=title, wanted=wanted)
    if study.pathway.concepts is not None and study.pathway.concepts not in concepts:
        wanted = nearest(study.pathway.concepts, concepts) or "a [[concepts]] section of that name"
        yield ("pathway", "concepts"), AccordError("No such concepts.", got=study.pathway.concepts, wanted=wanted)
