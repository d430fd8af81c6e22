"""A GGUF file becomes a folder in hub layout (float32 safetensors, config, tokenizer), made once."""

import copy
import shutil
import tempfile
from pathlib import Path
from typing import Any

from accord.disk import DiskFull, is_full
from accord.errors import AccordError
from accord.lm.claims import check_gguf, check_size

# How a byte-level vocabulary cuts text before merging. transformers knows some of the kinds that GGUF files
# name, and takes GPT-2's cut for every other. That is right for these ...
_CUT_LIKE_GPT2 = {"gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "exaone4", "granite-docling"}
# ... and wrong for these, which set every digit apart first: "\n\n1" begins with the token "\n\n".
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
    check_gguf(source)
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
        if is_full(error):
            raise DiskFull(folder) from error
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
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # four bars, torn by whatever else is shown
    reader = GGUFReader(source)
    tokenizer = _tokenizer(source, reader)
    tokenizer.save_pretrained(folder)
    back = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    _check_tokenizer(tokenizer, reader, source)
    _check_tokenizer(back, reader, source)
    ids = [tokenizer(text)["input_ids"] for text in _PROBES]
    _same(ids == [back(text)["input_ids"] for text in _PROBES], "tokens")

    logits = _save_model(source, reader, folder, ids)
    model = AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, dtype=torch.float32
    )
    _same(torch.allclose(_logits(model, ids), logits, rtol=1e-4, atol=1e-3), "logits")
    for file in folder.iterdir():  # safetensors writes for its owner alone, but a cache may be shared
        shutil.copymode(folder / "config.json", file)


def _tokenizer(source: Path, reader: Any) -> Any:
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, trust_remote_code=False)
    for how_it_was_opened in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(how_it_was_opened, None)  # would be saved as if it were a property
    for name in ("bos", "eos"):  # transformers 5.17 takes BOS for both
        number = _field(reader, f"tokenizer.ggml.{name}_token_id")
        if number is not None and getattr(tokenizer, f"{name}_token_id") != number:
            setattr(tokenizer, f"{name}_token", tokenizer.convert_ids_to_tokens(int(number)))
    adds_bos = _field(reader, "tokenizer.ggml.add_bos_token")
    if adds_bos is not None and (tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id) != adds_bos:
        tokenizer.add_bos_token = bool(adds_bos)  # nor does it hand this over
    backend = tokenizer.backend_tokenizer
    kind = _field(reader, "tokenizer.ggml.pre")
    if isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel) and kind not in _CUT_LIKE_GPT2:
        names = ", ".join(sorted(_CUT_LIKE_GPT2 | _CUT_DIGITS_FIRST))
        if kind not in _CUT_DIGITS_FIRST:
            raise AccordError(
                "This GGUF file's way to cut text into tokens is not known here.",
                where="its key tokenizer.ggml.pre",
                got=kind,
                wanted=f"{names}, or one that transformers knows",
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
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(source.parent, gguf_file=source.name, trust_remote_code=False)
    check_size(AutoModelForCausalLM, config, [source], source)
    model, notes = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        local_files_only=True,
        trust_remote_code=False,
        dtype=torch.float32,
        output_loading_info=True,
    )
    # A tensor that transformers has no place for is skipped without a word (such as Llama 3's rope factors),
    # and a weight the file lacks starts at random. Counting finds both.
    sizes = {tensor.name: int(tensor.n_elements) for tensor in reader.tensors}
    placed = sum(t.numel() for t in {t.data_ptr(): t for t in model.state_dict().values()}.values())
    spare = sizes.get("output.weight", 0) if model.config.tie_word_embeddings else 0
    if notes["missing_keys"] or placed not in (sum(sizes.values()), sum(sizes.values()) - spare):
        raise ValueError(f"{sum(sizes.values())} weights in the file, {placed} in the model")
    logits = _logits(model, ids)
    # A model loaded from GGUF refuses to be saved: hand its weights to a plain model
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
