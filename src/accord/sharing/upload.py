"""A folder that accord wrote, as a repository of the hub: what goes up, its card, and the sending."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any

from accord.arguments import checked
from accord.disk import path_of
from accord.errors import AccordError
from accord.loading import FOLDERS, check_model, fingerprint
from accord.report.model_card import Known
from accord.study.manifest import check_if_stage, is_stage
from accord.study.run_folder import Run
from accord.unfinished import check_finished

SHARED: dict[str, str] = {**FOLDERS, "weights.safetensors": "accord.concepts.sharing"}
"""A file that every folder of a kind has -> the module that shares it: `is_model(folder)`, `base_of(folder)`, and
`shared(folder, known)`, which gives patterns of files that go up as they lie, and the texts of others."""
_ID = re.compile(r"[\w.-]+/[\w.-]+")
_BESIDE = {"README.md", ".gitattributes"}  # what a new repository may hold
_CUSTOM = "other"  # as the hub calls licences without an id of their own


@dataclass(frozen=True)
class Push:
    """What went up, or would.

    Attributes:
        files: their names in the repository, and bytes.
        card: README.md.
        address: of the repository.
    """

    files: Mapping[str, int]
    card: str
    address: str


@checked
def push(
    folder: Path | str,
    repository: str,
    *,
    public: bool = False,
    results: Sequence[Path | str] = (),
    base: str | None = None,
    licence: str | None = None,
    check: bool = False,
) -> Push:
    """Put a repaired model, a concept language model or a concept model on the hub, with a model card.

    >>> sharing.push("runs/demo/repair/rankalign-s0", "me/repaired", check=True).files  # doctest: +SKIP

    Nothing goes up but weights as safetensors and accord's own files, and in these no place on this machine. The card
    has what was measured of the model: in a run, the verdict and the damage beside it.

    Args:
        folder: what accord wrote.
        repository: its hub id, "owner/name"; it is made if it is not there.
        public: whether everybody may see it; else its owner alone.
        results: folders of results on this model, outside of a run.
        base: what it stands on, as others can fetch it; by default as its folder says.
        licence: of the base, as the hub writes it ("apache-2.0"); by default as the catalog or the hub has it.
        check: send nothing.

    Raises:
        AccordError: the folder is no such model or damaged, its base is on this machine alone, its licence is not
            known, results are of another model; nobody is logged in, the hub cannot be reached or refuses.
    """
    folder = path_of(folder)
    if not _ID.fullmatch(repository):
        raise AccordError("a repository of the hub has an owner and a name", got=repository, wanted="OWNER/NAME")
    check_finished(folder)
    check_if_stage(folder)
    module = _module(folder)
    base = base or str(module.base_of(folder))
    if path_of(base).exists():
        raise AccordError(
            "this model stands on one that is on this machine alone: nobody else could open it",
            where=folder,
            got=base,
            fix="push the base first and repair from its hub id; send whole weights (accord merge, then `hf upload`); "
            "or name the very same model: --base OWNER/NAME",
        )
    check_model(base)
    from huggingface_hub import constants

    known = Known(repository, base, licence or _licence(base), _measured(folder, results))
    patterns, texts = module.shared(folder, known)
    files = {name: folder / name for pattern in patterns for name in _matching(folder, pattern)}
    for name in files:
        _check_own(folder, name)
    contents: dict[str, Path | bytes] = {**files, **{name: text.encode() for name, text in texts.items()}}
    sizes = {name: len(of) if isinstance(of, bytes) else of.stat().st_size for name, of in sorted(contents.items())}
    address = f"{constants.ENDPOINT}/{repository}" if check else _send(repository, contents, public)
    return Push(sizes, texts["README.md"], address)


def _module(folder: Path) -> Any:
    for file, name in SHARED.items():
        if (folder / file).is_file() and (module := import_module(name)).is_model(folder):
            return module
    raise AccordError(
        "this is no folder of a model that accord made",
        where=folder,
        wanted="a repaired model, a concept language model, or a concept model",
    )


def _matching(folder: Path, pattern: str) -> Iterable[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob(pattern))


def _check_own(folder: Path, name: str) -> None:
    """A link could lead to anything."""
    path = folder / name
    if any(part.is_symlink() for part in (path, *path.parents) if folder in part.parents) or not path.is_file():
        raise AccordError(
            "only plain files go up", where=path, got="a link, or no file", fix="put the file itself there"
        )


# The card


def _measured(folder: Path, others: Sequence[Path | str]) -> list[str]:
    """What results on a model say of it in its card: those made from it in its run, and others."""
    said = []
    if is_stage(folder):
        name, run = f"{folder.resolve().parent.name}/{folder.resolve().name}", Run(folder.resolve().parents[1])
        for other, manifest in run.manifests.items():
            of = [given for given in manifest.get("inputs", {}).values() if given["stage"] == name]
            if of and of[0]["fingerprint"] == run.manifests[name]["fingerprint"]:
                said += _card(run[other])
    for place in map(path_of, others):
        run = Run(place)
        weights = {name: manifest["settings"].get("repaired", {}) for name, manifest in run.manifests.items()}
        for name, of in weights.items():
            if not isinstance(of, dict) or of.get("weights") != fingerprint(str(folder)):
                raise AccordError("these results are not of this model", where=place, got=of or name, wanted=folder)
            said += _card(run[name])
    return said


def _card(result: Any) -> list[str]:
    return [result.card()] if hasattr(result, "card") else []


def _licence(base: str) -> str:
    """The licence of a base, as the hub writes it. Raises AccordError where nobody says it."""
    from accord.lm.catalog import CATALOG

    if base in CATALOG:
        named = CATALOG[base].license.lower()
        return named if " " not in named else _CUSTOM
    from huggingface_hub import HfApi

    try:
        card = HfApi().model_info(base).card_data
    except Exception as error:  # a dozen classes
        raise _refused(base, error) from error
    licence = None if card is None else card.get("license")
    if not isinstance(licence, str) or not licence:
        raise AccordError(
            "nothing says under which licence the base may be shared",
            got=base,
            fix="read its terms; then say it as the hub writes it: --licence apache-2.0",
        )
    return licence


# The sending


def _send(repository: str, contents: Mapping[str, Path | bytes], public: bool) -> str:
    """Make the repository and put the files there, in one commit; what accord put there before and is no more goes."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    hub = HfApi(library_name="accord")
    try:
        hub.whoami()
        address = hub.create_repo(repository, private=not public, exist_ok=True)
        info = hub.model_info(repository)
        if not (public or info.private):
            raise AccordError(
                "this repository is public", where=address, fix="say that all may see it: --public; or name another"
            )
        if public and info.private:  # the hub leaves who may see a repository that is there as it is
            raise AccordError(
                "this repository is private", where=address, fix="make it public in its settings; or leave --public out"
            )
        there = [file.rfilename for file in info.siblings or []]
        if not any(name in there for name in SHARED) and (other := set(there) - _BESIDE):
            raise AccordError(
                "this repository holds what accord did not put there",
                where=address,
                got=", ".join(sorted(other)[:5]),
                fix="name another one, or one that is not there yet",
            )
        own = [name for name in there if _ours(name) and name not in contents]
        steps: list[CommitOperationAdd | CommitOperationDelete] = [
            *(CommitOperationDelete(path_in_repo=name) for name in own),
            *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=each) for name, each in contents.items()),
        ]
        hub.create_commit(repository, steps, commit_message="accord push")
    except AccordError:
        raise
    except Exception as error:  # a dozen classes, some of the HTTP library beneath
        raise _refused(repository, error) from error
    return str(address)


_OURS = ("repair.json", "adapter_*", "edits.safetensors", "concepts/*", "concepts-*/*", "head.safetensors",
         "probe.safetensors", "weights.safetensors", "model*.safetensors")  # fmt: skip


def _ours(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in _OURS)


def _refused(repository: str, error: Exception) -> AccordError:
    from huggingface_hub import errors

    login = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"
    code = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.OfflineModeIsEnabled):
        problem, fix = "The hub is switched off (HF_HUB_OFFLINE).", "unset it"
    elif isinstance(error, errors.RepositoryNotFoundError):
        problem, fix = "There is no such model on the hub, or it is private.", f"check the name; else {login}"
    elif isinstance(error, errors.LocalTokenNotFoundError) or code == 401:
        problem, fix = "Nobody is logged in to the hub.", login
    elif code == 403:
        problem, fix = "The hub does not let this user write there.", f"name a repository of your own; or {login}"
    else:
        problem, fix = (
            "The hub could not be reached, or refused.",
            "try again: a push is one commit, whole or not at all",
        )
    got = (str(error).strip() or type(error).__name__).splitlines()[0]
    return AccordError(problem, where=repository, got=got, fix=fix)
