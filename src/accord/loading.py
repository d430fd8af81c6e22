"""Any language model by name or folder: a backbone, or a concept language model or repaired model that was saved."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from accord.arguments import checked
from accord.cache import hash_file

if TYPE_CHECKING:
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
def load(model: str | Path, *, device: str = "auto", dtype: str = "auto") -> "LanguageModel":
    """Load a language model.

    Args:
        model: a catalog name, a hub id, a local folder or a `.gguf` file; or a folder of a concept language model,
            such as `runs/NAME/heads/topk-latents-new-s0`, or of a repaired model, `runs/NAME/repair/rankalign-s0`.
        device: "auto" (a GPU when there is one), "cpu", "cuda", "cuda:1", "mps".
        dtype: of the backbone: "auto" (float32 on a CPU, bfloat16 on a GPU), "float32", "bfloat16" or "float16".

    Raises:
        AccordError: the model is unknown, broken or unsafe to load, or fails its proofs.
    """
    if is_concept_lm(model):
        from accord.heads import load_concept_lm

        return load_concept_lm(Path(model).expanduser(), device=device, dtype=dtype)
    if is_repaired(model):
        from accord.repair import load_repaired

        return load_repaired(Path(model).expanduser(), device=device, dtype=dtype)
    from accord.lm import load as load_backbone

    return load_backbone(model, device=device, dtype=dtype)


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
        digest.update(f"{path.relative_to(folder).as_posix()}\0{hash_file(path)}\n".encode())
    return f"{kind}:{digest.hexdigest()[:16]}"
