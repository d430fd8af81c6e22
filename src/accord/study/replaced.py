"""What is there already and was made otherwise: how it differs from what is asked for, and the error that says so."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.amounts import in_time, moment
from accord.errors import AccordError
from accord.report.metric import plain
from accord.study.stage import ABSENT, Recipe, settings_that_differ

_SHOWN = 20  # stages in one error


def differences(manifest: Mapping[str, Any], recipe: Recipe) -> Iterator[str]:
    """How a recipe differs from the one in a manifest, each difference in a few words."""
    if "inputs" not in manifest:
        yield "accord's own format"
        return
    if manifest["version"] != recipe.version:
        yield "accord's own version of this stage"
    for key, before, now in settings_that_differ(manifest["settings"], recipe.settings):
        yield key if ABSENT in (before, now) else f"{key} ({_short(before)} → {_short(now)})"
    if manifest["seed"] != recipe.seed:
        yield f"seed ({manifest['seed']} → {recipe.seed})"
    for role in dict.fromkeys([*manifest["inputs"], *recipe.inputs]):
        if manifest["inputs"].get(role, {}).get("fingerprint") != recipe.inputs.get(role):
            yield f"its {role}"


def in_words(manifest: Mapping[str, Any], recipe: Recipe, most: int | None = 3) -> str:
    """What differs from a stage that was made by another recipe; at most so many differences."""
    if rendered_otherwise(manifest, recipe):
        return "what the chat template writes (a date? chat_options can fix it)"
    changed = [plain(change) for change in differences(manifest, recipe)]
    return f"{', '.join(changed[:most])}{' and more' if most is not None and len(changed) > most else ''}"


def rendered_otherwise(manifest: Mapping[str, Any], recipe: Recipe) -> bool:
    """Whether a manifest differs from a recipe only in the text that a chat template writes, such as a date."""
    changed = [key for key, _, _ in settings_that_differ(manifest["settings"], recipe.settings)]
    prints = {role: of["fingerprint"] for role, of in manifest.get("inputs", {}).items()}
    same = (manifest["version"], manifest["seed"], prints) == (recipe.version, recipe.seed, dict(recipe.inputs))
    return same and bool(changed) and all(key.rpartition(".")[2] == "rendered" for key in changed)


@dataclass(frozen=True)
class MadeOtherwise:
    """Whole results of other settings, where a stage would put its own.

    Attributes:
        name: of the stage.
        differs: what does, in words.
        seconds: that making them took, breaks between included; None if the manifest does not say.
    """

    name: str
    differs: str
    seconds: float | None

    @classmethod
    def of(cls, name: str, manifest: Mapping[str, Any], recipe: Recipe) -> "MadeOtherwise":
        """By the manifest of what is there, and the recipe of what is asked for."""
        begun, ended = moment(manifest.get("started")), moment(manifest.get("finished"))
        seconds = None if begun is None or ended is None else (ended - begun).total_seconds()
        return cls(name, in_words(manifest, recipe), seconds)

    def __str__(self) -> str:
        took = "" if self.seconds is None else f"; made in {in_time(self.seconds)}"
        return f"{self.differs}{took}"


def not_replaced(there: MadeOtherwise | Sequence[MadeOtherwise], where: Path, keep: str | None) -> AccordError:
    """The error of every command that finds results of other settings where its own should go.

    Args:
        there: those of one stage, or of several in a run folder.
        keep: how to have both: "name another folder with --out"; None where there is no other place.
    """
    what, lines = "folder", [str(there)]
    if not isinstance(there, MadeOtherwise):
        what, lines = "run", [f"{one.name}: {one}" for one in there[:_SHOWN]]
        lines += [f"and {len(there) - _SHOWN} more"] if len(there) > _SHOWN else []
    return AccordError(
        f"This {what} holds results of other settings.",
        where=where,
        got=("\n" + " " * 10).join(lines),
        fix="add --replace to make them again" + ("" if keep is None else f"; or, to keep them, {keep}"),
    )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"
