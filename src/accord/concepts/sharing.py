"""A folder of a concept model as it is shared: its settings and weights, and a card."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from accord.disk import read_object
from accord.errors import AccordError
from accord.report.model_card import Known, head, plain


def is_model(folder: Path) -> bool:
    """Whether `accord.concepts.save` wrote this folder."""
    try:
        return read_object(folder / "config.json").get("format") == "accord.concepts"
    except AccordError:
        return False


def base_of(folder: Path) -> str:
    """Raises AccordError: settings and weights of a concept model do not name the model whose states it reads."""
    fix = "name it: --base MODEL"
    raise AccordError("a concept model does not say which language model it was made on", where=folder, fix=fix)


def shared(folder: Path, known: Known) -> tuple[Sequence[str], Mapping[str, str]]:
    """What of a folder is shared: see `accord.repair.folder.shared`."""
    table = read_object(folder / "config.json", "config", "d", "K")
    kind = plain(str(table["config"].get("kind")))
    lines = [
        *head("accord", known.base, known.licence),
        "---",
        "",
        f"# {table['K']} concepts of {plain(known.base)}, {kind}",
        "",
        f"A concept model ({kind}) of states of width {table['d']}. Made with accord.",
        "",
        f"- Base: {plain(known.base)}. Its licence, {plain(known.licence)}, holds for this one, too.",
        "",
        "```python",
        f'model = accord.concepts.load("{known.name}")',
        "```",
        "",
        *(line for part in known.results for line in (part, "")),
    ]
    return ("config.json", "weights.safetensors"), {"README.md": "\n".join(lines)}
