"""The stage that makes the dictionary of a concept model, has its concepts named, and scores the names."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from accord.concepts import load as load_concepts
from accord.errors import AccordError, nearest
from accord.lm.config import BackboneSection
from accord.names import (
    Dictionary,
    Names,
    Scores,
    Shown,
    Side,
    TransformersAnnotator,
    annotate,
    annotator_of,
    build_dictionary,
    score_names,
)
from accord.names.annotators import Local, Tokens
from accord.names.answers import FAILURES, Annotator, failures_of
from accord.names.config import AnyAnnotator, NamesSection
from accord.names.judges import Judge, ListJudge, LogOddsJudge, TokensJudge
from accord.study import config
from accord.study.concept_stages import EMBEDDINGS, HELD_OUT, TRAIN, open_store, texts_table
from accord.study.gap_stages import check_model
from accord.study.stage import Progress, Run, Stage, finish, found_by, identity, keep_if_same, load_once, write_json
from accord.study.store import UNFINISHED, Recipe, read_manifest

NAMES_VERSION = 3  # raise it when the same settings give other files or numbers
_PART = "dictionary"


@dataclass(frozen=True)
class Named:
    """The concept model to be named: its folder (`concepts/lcblm-s0`), layer and seed; fingerprints of the inputs."""

    folder: str
    layer: int
    seed: int
    inputs: tuple[str, str]


def names_stage(run: Run, section: NamesSection, named: Named) -> Stage:
    """Dictionary, names and scores of a concept model."""
    settings = {
        "inputs": list(named.inputs),
        "layer": named.layer,
        "annotator": _identity(section.annotator),
        **section.model_dump(include={"limit", "examples", "held_out", "scores"}),
    }

    def make(work: Path, progress: Progress) -> dict[str, Any]:
        annotator = annotator_of(section.annotator)  # a missing key is told before anything is read
        keep_if_same(work, found := found_by(run.lm()))
        dictionary = _dictionary(run, section, named, work)
        chosen = _choose(dictionary.concepts, section.limit, named.seed)
        names = annotate(annotator, chosen, dictionary.examples, work, shown=section.examples, progress=progress)
        if not names.answers:
            raise _nothing(names)
        scores = None
        if section.scores:
            judge = _judge(annotator, run, work)
            scores = score_names(judge, names.answers, dictionary.examples, seed=named.seed)
        _write(work, dictionary, names, scores)
        counts = {"live": len(dictionary.concepts), "asked": len(chosen), "named": len(names.answers)}
        about = {"concepts": Path(named.folder).name, "annotator": section.annotator.kind, "seed": named.seed}
        summary = {} if scores is None else scores.summary
        write_json(work / "metrics.json", {**about, **counts, "failed": len(names.failures), **_finite(summary)})
        left = len(failures_of(work))
        if left and section.annotator.kind == "openai":  # a server may do better next time, the others will not
            said = f"{left} of what was asked has no answer ({FAILURES}); the same command asks for that again"
            return {**found, UNFINISHED: said}
        finish(work, _PART)
        return found

    return Stage(
        named.folder.replace("concepts/", "names/", 1), Recipe("names", NAMES_VERSION, settings, named.seed), make
    )


def open_run(folder: Path, backbone: str | None = None) -> tuple[Run, int]:
    """A run folder by itself, and the first seed of its study.

    Args:
        backbone: the study's model, where its path is another one now.

    Raises:
        AccordError: no run folder, no embeddings in it, or another model than these were made with.
    """
    manifest = read_manifest(folder / EMBEDDINGS)
    if manifest is None or not (folder / "study.toml").is_file():
        raise AccordError("There are no embeddings in this folder.", where=folder, wanted="a run folder of accord run")
    study = config.load(folder / "study.toml").study
    model = study.backbone.model_copy(update={"model": backbone or study.backbone.model})
    check_model(model.model)
    if identity(model)["weights"] != manifest["settings"]["weights"]:
        fix = "name the model that was: --backbone MODEL"
        raise AccordError("The embeddings were made with another model.", where=folder, got=model.model, fix=fix)
    return Run(folder.absolute(), model, load_once()), study.seeds[0]


def named_in(folder: Path, concepts: str, seed: int) -> list[Named]:
    """The concept models in a run folder: all of a seed, those of a name, or one by its folder's name.

    Raises AccordError if there is none.
    """
    made = read_manifest(folder / EMBEDDINGS)
    assert made is not None  # see open_run
    found = {
        path.parent.name: read_manifest(path.parent)
        for path in sorted((folder / "concepts").glob("[!.]*/manifest.json"))
    }
    chosen = []
    for name, manifest in found.items():
        about = manifest["settings"] if manifest is not None else {}
        if manifest is not None and (
            concepts == name or (about["seed"] == seed and concepts in ("all", about["name"]))
        ):
            inputs = (made["fingerprint"], manifest["fingerprint"])
            chosen.append(Named(f"concepts/{name}", about["layer"], about["seed"], inputs))
    if not chosen:
        raise AccordError("No such concept model.", where=folder, got=repr(concepts), wanted=nearest(concepts, found))
    return chosen


def _identity(annotator: AnyAnnotator) -> dict[str, Any]:
    """What of an annotator fixes its answers. Fetches a local model if it is not on this machine."""
    table = annotator.model_dump(exclude=annotator.manner)
    if isinstance(annotator, TransformersAnnotator):
        model = BackboneSection(model=annotator.model, device=annotator.device, dtype=annotator.dtype)
        table |= identity(model)
    return table


def _dictionary(run: Run, section: NamesSection, named: Named, work: Path) -> Dictionary:
    """The dictionary, kept in `work` while its concepts are being named."""
    if not (work / _PART).exists():
        aside = work / f"{_PART}.tmp"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        lm = run.lm()
        model = load_concepts(run.at(named.folder), lm.device)
        shown = Shown(held_out=section.held_out, top=max(12, section.examples))
        train, held_out = (Side(open_store(run, side), texts_table(run, side)) for side in (TRAIN, HELD_OUT))
        build_dictionary(model, lm, named.layer, train, held_out, shown=shown, seed=named.seed).write(aside)
        aside.rename(work / _PART)
    return Dictionary.read(work / _PART)


def _nothing(names: Names) -> AccordError:
    first = dict.fromkeys(names.failures.values())
    return AccordError(
        "No concept got a name.",
        got="; ".join([*first][:3]),
        fix="mend that, or take another annotator, then run again",
    )


def _choose(concepts: pd.DataFrame, limit: int | None, seed: int) -> pd.DataFrame:
    if limit is None or limit >= len(concepts):
        return concepts
    drawn = np.random.default_rng(seed).choice(len(concepts), limit, replace=False)
    return concepts.iloc[np.sort(drawn)]


def _judge(annotator: Annotator, run: Run, work: Path) -> Judge:
    if isinstance(annotator, Local):
        return LogOddsJudge(annotator.lm)
    if isinstance(annotator, Tokens):
        return TokensJudge(run.lm().tokenizer)
    return ListJudge(annotator, work)


def _write(work: Path, dictionary: Dictionary, names: Names, scores: Scores | None) -> None:
    """The dictionary, with the columns name, alternatives, no_name (the reason) and the scores."""
    table = dictionary.concepts
    numbers = table["concept"]
    answers: Mapping[int, Any] = names.answers
    table["name"] = [answers[k].concept if k in answers else None for k in numbers]
    table["alternatives"] = [answers[k].alternatives if k in answers else None for k in numbers]
    table["no_name"] = [names.failures.get(k) for k in numbers]
    if scores is not None:
        table = table.merge(scores.table, on="concept", how="left")
    Dictionary(table, dictionary.examples).write(work)


def _finite(summary: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Measures as JSON takes them: null where they are undefined."""
    return {
        name: {
            key: None if isinstance(number, float) and not np.isfinite(number) else number
            for key, number in value.items()
        }
        for name, value in summary.items()
    }
