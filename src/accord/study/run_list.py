"""The list of a run: which stages it has, by the hashes of their manifests, and the files that stand beside them.

It is what tells a deleted stage from one that was never made, and a stage from one that was put in its place.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from accord.disk import lock, sha256, write_whole
from accord.errors import AccordError
from accord.sealed import DIGEST, is_sealed, sealed_json

LIST = "run.json"  # in the run folder


@dataclass
class RunList:
    """What accord wrote into a run folder.

    Attributes:
        study: the name of the study.
        stages: name of a stage -> SHA-256 of its manifest.
        files: file beside the stages -> its SHA-256.
        figures: what the figures among these were drawn from, see `accord.study.made_from.sources`.
        coming: file beside the stages that is being written -> SHA-256 of what will be in it.
    """

    study: str = ""
    stages: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    figures: str = ""
    coming: dict[str, str] = field(default_factory=dict)

    def faults(self, run: Path) -> Iterator[tuple[str, str]]:
        """The files beside the stages that are not as they were written, each with what is wrong."""
        for name, digest in self.files.items():
            if not (run / name).is_file():
                yield name, "missing"
            elif sha256(run / name) not in (digest, self.coming.get(name)):
                yield name, "changed"


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    digest: str
    study: str
    stages: dict[str, str]
    files: dict[str, str]
    figures: str
    coming: dict[str, str] = {}  # earlier versions wrote none


def read_list(run: Path) -> RunList | None:
    """The list of a run folder; None where there is none: an earlier version of accord kept none.

    Raises AccordError if it is damaged.
    """
    path = run / LIST
    if not path.exists():
        return None
    try:
        data = path.read_bytes()
        content = json.loads(data)
        _Shape.model_validate(content)
        whole = is_sealed(data, content.pop(DIGEST))
    except (OSError, ValueError, RecursionError, ValidationError):
        whole = False
    if not whole:
        fix = "run the study again: it lists the stages that are whole anew"
        raise AccordError("The list of this run's stages is damaged.", where=path, fix=fix)
    return RunList(**content)


def kept_list(run: Path) -> RunList:
    """The list of a run folder; an empty one where there is none that can be read."""
    try:
        return read_list(run) or RunList()
    except AccordError:
        return RunList()


@contextmanager
def changed_list(run: Path) -> Iterator[RunList]:
    """The list of a run folder, to be changed: it is written at the end, if it is another then."""
    with lock((run / LIST).resolve(), wait=True):
        listed = kept_list(run)
        yield listed
        text = sealed_json(asdict(listed))
        if not (run / LIST).exists() or (run / LIST).read_bytes() != text.encode():
            write_whole(run / LIST, text)


def list_stage(folder: Path, name: str, digest: str | None) -> None:
    """Note the hash of a stage's manifest, or with None that it is gone, where its folder is in a run with a list."""
    run = _run_of(folder, name)
    if run is not None:
        with changed_list(run) as listed:
            listed.stages.pop(name, None) if digest is None else listed.stages.update({name: digest})


def begin_list(run: Path, study: str, files: Sequence[str]) -> None:
    """See that a run folder has a list, with these files beside its stages as they are now."""
    hashes = {name: sha256(run / name) for name in files}
    with changed_list(run) as listed:
        listed.study = study
        listed.files.update(hashes)


@contextmanager
def writing(run: Path, hashes: Mapping[str, str]) -> Iterator[None]:
    """Note files beside the stages, by their hashes, around putting them in place, where the run has a list.

    Until that is done what was there counts, and what comes: whatever stops it, the list is true.
    """
    if not (run / LIST).is_file():
        yield
        return
    with changed_list(run) as listed:
        listed.coming.update(hashes)
    yield
    with changed_list(run) as listed:
        listed.files.update(hashes)
        for name in hashes:
            listed.coming.pop(name, None)


def write_listed(run: Path, texts: Mapping[str, str]) -> None:
    """Write files beside the stages: name -> text. Those that are there with this text are left as they are."""
    hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    with writing(run, hashes):
        for name, text in texts.items():
            if not (run / name).is_file() or sha256(run / name) != hashes[name]:
                write_whole(run / name, text)


def list_figures(run: Path, sources: str) -> None:
    """Note what the figures of a run were drawn from, where the run has a list."""
    if (run / LIST).is_file():
        with changed_list(run) as listed:
            listed.figures = sources


def listed_as(folder: Path) -> str | None:
    """The hash that the run around a stage's folder lists for its manifest; None where none does."""
    folder = folder.absolute()
    for run in folder.parents[:2]:
        if (run / LIST).is_file():
            return kept_list(run).stages.get(folder.relative_to(run).as_posix())
    return None


def _run_of(folder: Path, name: str) -> Path | None:
    """The run folder, with a list, in which a stage's folder stands at its place."""
    parents = folder.absolute().parents
    depth = name.count("/")
    if depth >= len(parents) or folder.absolute().relative_to(parents[depth]).as_posix() != name:
        return None
    return parents[depth] if (parents[depth] / LIST).is_file() else None
