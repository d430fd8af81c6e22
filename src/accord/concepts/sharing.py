"""A folder of a concept model as it is shared: its settings and weights, and a card."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from accord.disk import read_object
from accord.errors import AccordError
from accord.report.model_card import Known, plain, short_card


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
    title = f"{table['K']} concepts of {plain(known.base)}, {kind}"
    about = f"A concept model ({kind}) of states of width {table['d']}."
    card = short_card(title, about, f'model = accord.concepts.load("{known.name}")', known)
    return ("config.json", "weights.safetensors"), {"README.md": card}
