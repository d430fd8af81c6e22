"""Dictionaries of other tools, found by what their folder holds, here or on the hub: SAELens, sparsify, Gemma Scope."""

import re
from collections.abc import Callable
from pathlib import Path

from accord import hub
from accord.cache import hash_file
from accord.concepts import gemma_scope, saelens, sparsify
from accord.concepts.hooks import residual_layer
from accord.concepts.imported import Imported
from accord.disk import is_full, path_of, say_full
from accord.errors import AccordError

_PICKLES = (".pt", ".pth", ".bin", ".pkl", ".ckpt")
_FETCHED = ("*.safetensors", "*.json", "*.npz")
_CONVERT = """if you trust them, let SAELens (somewhere without secrets) write safetensors:
          SAE.from_pretrained(RELEASE, ID).save_model(FOLDER), and name that folder"""


def import_dictionary(source: str | Path, subfolder: str = "", *, layer: int | None = None) -> Imported:
    """A dictionary that another tool trained, as a concept model that computes what that tool does.

    The folder's files tell the format: SAELens (`cfg.json`, `sae_weights.safetensors`), sparsify (`cfg.json`,
    `sae.safetensors`), Gemma Scope (`params.npz`) and Gemma Scope 2 (`params.safetensors`).

    Args:
        source: a folder, or a repository on the hub: "org/name", or "org/name/folder/in/it".
        subfolder: the folder in `source`, such as "layer_20/width_16k/average_l0_71".
        layer: the layer that it reads (0: what enters the first block; l: what leaves block l), where its files do not
            say; else it must be what they say.

    Raises:
        AccordError: no such folder, no known format, pickled weights, or anything that is not understood.
    """
    folder, path = locate(source, subfolder)
    model = _format(folder)(folder, path)
    if layer is not None:
        origin = model.config.origin
        if origin.reads is not None and layer not in (origin.layer, residual_layer(origin.reads)):
            raise AccordError(
                "This dictionary reads another place.", where=path, got=f"layer {layer}", wanted=origin.reads
            )
        origin = origin.model_copy(update={"layer": layer, "caution": None})
        model.config = model.config.model_copy(update={"origin": origin})
    return model


def locate(source: str | Path, subfolder: str = "") -> tuple[Path, str]:
    """The dictionary's folder on this machine, fetched if it is on the hub; and its path, whose names tell what it is.

    The path is that of the folder here, or its place on the hub. Raises AccordError where there is none.
    """
    folder = path_of(source)
    if folder.is_dir():
        folder = folder / subfolder
        if not folder.is_dir():
            raise AccordError("There is no such folder.", where=source, got=subfolder)
        return folder, folder.resolve().as_posix()
    parts = [*str(source).split("/"), *(part for part in subfolder.split("/") if part)]
    if len(parts) < 2 or not all(re.fullmatch(r"\w[\w.\-]*", part) for part in parts):
        fix = 'name a folder, or a repository on the hub: "org/name", with the folder in it'
        raise AccordError("There is no such folder.", got=str(source), fix=fix)
    return _fetch("/".join(parts[:2]), "/".join(parts[2:])), "/".join(parts)


def is_hub_place(source: str) -> bool:
    """Whether this is written like a place on the hub: "org/name", or "org/name/folder/in/it".

    >>> is_hub_place("google/gemma-scope-2b-pt-res/layer_20"), is_hub_place("./sae")
    (True, False)
    """
    return re.fullmatch(r"\w[\w.\-]*(/\w[\w.\-]*)+", source) is not None


def fingerprint(folder: Path) -> dict[str, str]:
    """The hash of each file that is read of a dictionary's folder. Raises AccordError if the format is not known."""
    _format(folder)
    names = sorted({name for reading in _FORMATS for name in reading} | {saelens.SCALER, "config.json"})
    return {name: hash_file(folder / name) for name in names if (folder / name).is_file()}


def _format(folder: Path) -> Callable[[Path, str], Imported]:
    """The function that reads this folder, told by its files."""
    names = {file.name for file in folder.iterdir()}
    for files, read in _FORMATS.items():
        if names.issuperset(files):
            return read
    pickles = sorted(name for name in names if name.endswith(_PICKLES))
    if pickles:
        problem = "This dictionary's weights are pickled: refused, since opening them may run any code."
        raise AccordError(problem, where=folder, got=pickles[0], fix=_CONVERT)
    inside = sorted({path.parent for files in _FORMATS for path in folder.glob(f"**/{files[-1]}")} - {folder})
    if inside:
        folders = ", ".join(path.relative_to(folder).as_posix() for path in inside[:8])
        raise AccordError(
            "Which of the dictionaries in this folder?", where=folder, wanted=folders, fix="name its folder"
        )
    raise AccordError(
        "This folder holds no dictionary in a known format.",
        where=folder,
        got=", ".join(sorted(names)[:8]) or "nothing",
        wanted="; or ".join(" and ".join(files) for files in _FORMATS),
        fix=f"name the folder that holds the files; pickled weights are not fetched: {_CONVERT}",
    )


def bytes_to_fetch(source: str) -> tuple[int, Path]:
    """Bytes that fetching a dictionary of the hub takes on the disk, as far as is known, and the folder where."""
    parts = source.split("/")
    allow, ignore = _patterns("/".join(parts[2:]))
    return hub.bytes_to_fetch("/".join(parts[:2]), allow=allow, ignore=ignore) or 0, hub.cache_folder()


def _patterns(inside: str) -> tuple[list[str], list[str]]:
    """Which files of a repository are fetched, and which are not; of one of many dictionaries, not all of them."""
    return [f"{inside}/{pattern}" if inside else pattern for pattern in _FETCHED], [] if inside else ["*/*"]


def _fetch(repository: str, inside: str) -> Path:
    """A folder of the hub, in the hub's own cache; only weights that cannot run code, and text."""
    from huggingface_hub import snapshot_download

    allow, ignore = _patterns(inside)
    try:
        folder = Path(snapshot_download(repository, allow_patterns=allow, ignore_patterns=ignore)) / inside
    except Exception as error:  # a dozen classes, some of the HTTP library beneath
        if is_full(error):
            raise say_full(error, fix="free some, or set HF_HOME to a folder on another disk") from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        fix = "check the name; log in with `hf auth login` where it is gated; offline, name a folder on this machine"
        where = "the hub, as there is no folder of this name here"
        raise AccordError(f"{repository} could not be fetched.", where=where, got=reason, fix=fix) from error
    if not folder.is_dir():
        raise AccordError(
            "This folder on the hub does not exist, or holds no safetensors or npz.",
            where=f"{repository}/{inside}",
            fix=f"check its name; pickled weights are not fetched: {_CONVERT}",
        )
    return folder


_FORMATS: dict[tuple[str, ...], Callable[[Path, str], Imported]] = {
    (saelens.CONFIG, saelens.WEIGHTS): lambda folder, _: saelens.import_saelens(folder),
    (sparsify.CONFIG, sparsify.WEIGHTS): lambda folder, _: sparsify.import_sparsify(folder),
    (gemma_scope.ARRAYS,): gemma_scope.import_gemma_scope,
    (gemma_scope.CONFIG, gemma_scope.WEIGHTS): lambda folder, _: gemma_scope.import_gemma_scope_2(folder),
}
