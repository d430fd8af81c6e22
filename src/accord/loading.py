"""Any language model by name, folder or object: a backbone, or a concept language model or repaired model."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.arguments import checked
from accord.cache import kept_hash
from accord.errors import AccordError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from accord.lm import LanguageModel

# Files whose bytes are a model's identity; concept models of edits lie in folders.
_CONCEPT_LM = ("config.json", "head.safetensors", "concepts/config.json", "concepts/weights.safetensors")
_REPAIRED = (
    "repair.json",
    "*.safetensors",
    "adapter_config.json",
    "concepts-*/config.json",
    "concepts-*/*.safetensors",
)


@checked
def load(model: Any, tokenizer: Any = None, *, device: str = "auto", dtype: str = "auto") -> "LanguageModel":
    """Load a language model.

    Args:
        model: a catalog name, a hub id, a local folder or a `.gguf` file; or a folder of a PEFT adapter, of a concept
            language model, such as `runs/NAME/heads/topk-latents-new-s0`, or of a repaired model,
            `runs/NAME/repair/rankalign-s0`. Or a model of transformers or peft that is in memory: it is put into eval
            mode, and stays where it is and as it is.
        tokenizer: of a model in memory; any other brings its own.
        device: "auto" (a GPU when there is one), "cpu", "cuda", "cuda:1", "mps".
        dtype: of the backbone: "auto" (float32 on a CPU, bfloat16 on a GPU), "float32", "bfloat16" or "float16".

    Raises:
        AccordError: the model is unknown, broken or unsafe to load, or fails its proofs.
    """
    if not isinstance(model, str | Path):
        return _in_memory(model, tokenizer, device, dtype)
    if tokenizer is not None:
        raise AccordError("a tokenizer is given for a model in memory only", got=model, fix="leave it out")
    if is_concept_lm(model):
        from accord.heads import load_concept_lm

        return load_concept_lm(Path(model).expanduser(), device=device, dtype=dtype)
    if is_repaired(model):
        from accord.repair import load_repaired

        return load_repaired(Path(model).expanduser(), device=device, dtype=dtype)
    from accord.lm import load as load_backbone

    return load_backbone(model, device=device, dtype=dtype)


def _in_memory(model: Any, tokenizer: Any, device: str, dtype: str) -> "LanguageModel":
    from transformers import PreTrainedModel

    from accord.lm.opening import in_memory

    if not isinstance(model, PreTrainedModel) and not hasattr(model, "peft_config"):
        raise AccordError(
            "accord.load takes no such thing",
            got=type(model).__name__,
            wanted="a name, a folder, or a model of transformers or peft with its tokenizer",
        )
    if (device, dtype) != ("auto", "auto"):
        fix = "move or convert it yourself, then load it"
        raise AccordError("a model in memory stays where it is, in its precision", got=f"{device}, {dtype}", fix=fix)
    return in_memory(model, tokenizer)


def load_tokenizer(model: str) -> "PreTrainedTokenizerBase":
    """The tokenizer that `load` gives a model, without its weights. Fetches the model if it is not on this machine.

    Raises:
        AccordError: no such model, or it has no tokenizer that can be read.
    """
    if is_repaired(model):
        from accord.repair.folder import base_of

        return load_tokenizer(base_of(Path(model).expanduser()))
    if is_concept_lm(model):
        described = json.loads((Path(model).expanduser() / "config.json").read_text(encoding="utf-8"))
        return load_tokenizer(described["backbone"]["name"])
    from accord.lm.opening import load_tokenizer as tokenizer_of

    return tokenizer_of(model)


def fingerprint(model: str) -> str:
    """Identity of a model's weights. Fetches it if it is not on this machine; loads nothing."""
    if is_concept_lm(model):
        return _hash("concept-lm", Path(model).expanduser(), _CONCEPT_LM)
    if is_repaired(model):
        return _hash("repaired", Path(model).expanduser(), _REPAIRED)
    from accord.lm.catalog import resolve

    return resolve(model).fingerprint


def is_concept_lm(model: str | Path) -> bool:
    """Whether this is a folder of a concept language model; looks before it imports anything slow."""
    folder = Path(model).expanduser()
    if not (folder / "probe.safetensors").is_file():
        return False
    from accord.heads import is_concept_lm as found

    return found(folder)


def is_repaired(model: str | Path) -> bool:
    """Whether this is a folder of a repaired model; looks before it imports anything slow."""
    folder = Path(model).expanduser()
    if not (folder / "repair.json").is_file():
        return False
    from accord.repair import is_repaired as found

    return found(folder)


def _hash(kind: str, folder: Path, parts: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for path in sorted({path for part in parts for path in folder.glob(part)}):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{kept_hash(path)}\n".encode())
    return f"{kind}:{digest.hexdigest()[:16]}"
