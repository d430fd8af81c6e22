"""The model card of a repaired model: what it is, how it was made, how to open it.

It takes the place of PEFT's, which is blanks to be filled in, and the path of the base on the machine that wrote it.
"""

import json
from collections.abc import Mapping
from typing import Any

from accord.report.model_card import Known, head, plain

NAME = "README.md"

_LIBRARY = {"adapter": "peft", "weights": "transformers", "edits": "accord"}
_OPEN = {
    "adapter": 'network = PeftModel.from_pretrained(base, "FOLDER")  # peft, on the base as transformers opens it',
    "weights": 'network = AutoModelForCausalLM.from_pretrained("FOLDER")  # transformers, by itself',
}


def card(
    base: str, fingerprint: str, about: Mapping[str, Any], kind: str, *, local: bool, known: Known | None = None
) -> str:
    """A model card in Markdown, with the head that the hub reads.

    Args:
        base: what the base is called; `local`: that is a folder here, whose path is nobody's business.
        about: as in repair.json: the task, the repair's settings and seed.
        kind: "adapter", "weights" or "edits".
        known: of a model that is shared.

    >>> print(card("org/model", "sha256:0", {"repair": {"kind": "sft"}}, "adapter", local=False).splitlines()[1])
    library_name: peft
    """
    settings = {key: about[key] for key in ("task", "repair", "seed") if key in about}
    method, task = _said(settings.get("repair"), "kind"), _said(settings.get("task"), "name")
    text = json.dumps(settings, indent=2, ensure_ascii=False)
    fence = "```"
    while fence in text:
        fence += "`"
    shown = base.replace("\\", "/").rstrip("/").rpartition("/")[2] if local else base
    top = head(_LIBRARY.get(kind, "accord"), None if local else base, known.licence if known else None)
    licence = f"Its licence, {plain(known.licence)}, holds for this one, too." if known else _LICENCE
    name = "FOLDER" if known is None else known.name
    return "\n".join(
        [
            *top,
            "---",
            "",
            f"# {plain(shown)}, repaired by {plain(method)}",
            "",
            f"A language model that was brought to affirm, when it is asked, what it says when it completes a sentence "
            f"({plain(task)}). Made with accord.",
            "",
            f"- Base: {plain(shown)} ({fingerprint}). {licence}",
            f"- What is here: {_HERE.get(kind, kind)}.",
            *([] if known is not None and known.results else [_UNMEASURED]),
            "",
            "```python",
            f'lm = accord.load("{name}")',
            *([_OPEN[kind].replace("FOLDER", name)] if kind in _OPEN else []),
            "```",
            "",
            *(line for part in (known.results if known else ()) for line in (part, "")),
            "How it was made:",
            "",
            f"{fence}json",
            text,
            fence,
            "",
        ]
    )


_LICENCE = "Its licence holds for this one, too."
_UNMEASURED = (
    "- Is the gap closed, on words never seen too, and what else changed? Nothing is claimed here; measure it: "
    "`accord verdict --repaired FOLDER --task TASK`, `accord damage --repaired FOLDER --task TASK`."
)
_HERE = {
    "adapter": "a LoRA adapter, which PEFT opens by itself",
    "weights": "all weights",
    "edits": "what accord adds to the base's states or log-odds as it runs",
}


def _said(table: Any, key: str) -> str:
    return str(table.get(key, "a task of its own")) if isinstance(table, Mapping) else "a task of its own"
