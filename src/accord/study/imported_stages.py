"""Dictionaries of other tools in a study: nothing is trained, all else is as for concept models made here."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from accord.concepts import import_dictionary, save
from accord.concepts.config import ImportedSection
from accord.concepts.dictionaries import fingerprint, locate
from accord.concepts.imported import Imported
from accord.section import Layer
from accord.study.concept_stages import HELD_OUT, ROWS_AT_ONCE, TRAIN, concept_name, judge, open_store
from accord.study.config import StudyFile
from accord.study.stage import Progress, Run, Stage, finish, found_by, keep_if_same, write_json
from accord.study.store import Recipe
from accord.text import in_order

IMPORTED_VERSION = 1  # raise this when the same files give other weights or numbers


def imported_of(file: StudyFile, section: ImportedSection) -> ImportedSection:
    """The section, with a path taken relative to the study file."""
    beside = file.beside(section.source)
    return section.model_copy(update={"source": str(beside)}) if beside.is_dir() else section


def imported_stage(run: Run, section: ImportedSection, place: tuple[Layer, int], seed: int, embeddings: Stage) -> Stage:
    """Import a dictionary for a layer (as the study writes it, and its number), and judge it on held-out texts.

    Seeds change nothing of it; it has a folder for each, as whatever reads it has a seed.

    Raises AccordError if it cannot be fetched or imported.
    """
    layer = place[1]
    about = {"name": section.title, "kind": section.kind, "layer": layer, "seed": seed}
    origin = dictionary(section.source).config.origin.model_dump()
    settings = {
        "inputs": [embeddings.recipe.fingerprint],
        **about,
        "files": fingerprint(locate(section.source)[0]),
        "origin": origin,
    }

    def make(work: Path, progress: Progress) -> dict[str, Any]:
        lm = run.lm()
        keep_if_same(work, found := found_by(lm))
        train, held_out = open_store(run, TRAIN), open_store(run, HELD_OUT)
        model = import_dictionary(section.source).to(lm.device)
        model.fit_scale(batch.x for batch in in_order(train, layer, ROWS_AT_ONCE))
        save(model, work)
        judged = judge(run, model, layer, held_out)
        write_json(work / "metrics.json", {**about, **judged, "seconds": None, "origin": origin})
        finish(work)
        return found

    return Stage(concept_name(section, place[0], seed), Recipe("imported", IMPORTED_VERSION, settings, seed), make)


def dictionary(source: str) -> Imported:
    """The dictionary of a section, read once while its files stay the same; fetched if it is on the hub."""
    return _read(source, tuple(fingerprint(locate(source)[0]).items()))


@lru_cache(maxsize=2)
def _read(source: str, files: tuple[tuple[str, str], ...]) -> Imported:
    return import_dictionary(source)
