"""The chapter on concept models: how well they reconstruct, how they were trained, and on what."""

from collections.abc import Sequence
from pathlib import Path

from accord.concepts.figures import draw_loss_terms, draw_recovered, draw_sparsity, draw_training
from accord.concepts.findings import concept_findings
from accord.concepts.groups import concept_groups, is_gated, place_of
from accord.embeddings.result import Embeddings
from accord.report import style
from accord.report.chapter import Chapter
from accord.report.drawn import Drawn, on_page
from accord.report.glossary import Term
from accord.report.prompts import flat
from accord.report.seed_table import seed_table
from accord.report.seeds import SeedGroup
from accord.report.wording import capital
from accord.study.run_folder import Run

_KEY = "concepts"
_QUALITY = "accord.concepts.quality.Quality"
_CE = "accord.concepts.metrics.ce_recovered"
_R2 = "1 − Σ‖x − x̂‖² / Σ‖x − mean x‖², over held-out states x"
_RECOVERED = "(CE ablated − CE reconstructed) / (CE ablated − CE original), nats a token"
_HARD = ("r2_hard", "ce_recovered_hard")  # mean something only where there are gates

TERMS: dict[str, Term] = {
    "r2": Term(
        "R²",
        "share of the embeddings' variance that the reconstruction explains, 1 − FVU; of a transcoder, which reads one "
        "layer, the variance of the other, which it reconstructs",
        _QUALITY,
        _R2,
    ),
    "r2_hard": Term("R², hard", "the same with every gate open or shut; for kinds that have gates", _QUALITY, _R2),
    "l0": Term(
        "L0",
        "concepts that fire on a token, on average (with hard gates): fewer is sparser",
        _QUALITY,
        "active concepts / tokens",
    ),
    "alive": Term(
        "Alive",
        "share of concepts that fire on at least 0.1 % of held-out tokens",
        _QUALITY,
        "concepts with a rate ≥ .001 / concepts",
    ),
    "ce_recovered": Term(
        "CE recovered",
        "how much of the next-token prediction survives when the reconstruction takes the embedding's place: "
        "1 all of it, 0 no more than without the embedding",
        _CE,
        _RECOVERED,
    ),
    "ce_recovered_hard": Term("CE recovered, hard", "the same with hard gates", _CE, _RECOVERED),
    "parameters": Term("Parameters", "trained numbers of the concept model", _QUALITY, whole=True),
    "seconds": Term("Seconds", "time to train", "metrics.json"),
}

_LABELLED = "accord.concepts.labelled.judge_labels"
_PROBE = "right / texts, by ridge logistic regression, learnt on training texts, on the mean over tokens of"

LABEL_TERMS: dict[str, Term] = {
    "accuracy": Term(
        "Label by concept",
        "share of held-out texts whose label is the one with the strongest concept, mean over the text's tokens",
        _LABELLED,
        "texts with argmax_c mean over tokens z_c = label / texts",
    ),
    "accuracy_tokens": Term(
        "Of tokens", "the same of single tokens", _LABELLED, "tokens with argmax_c z_c = their text's label / tokens"
    ),
    "accuracy_rest": Term(
        "By the rest",
        "share that a linear probe of all other concepts tells rightly: chance, if the rest is free of the label",
        _LABELLED,
        f"{_PROBE} z of the other concepts",
    ),
    "accuracy_states": Term(
        "By the states", "share that a linear probe of the states themselves tells", _LABELLED, f"{_PROBE} x"
    ),
    "largest_label": Term(
        "Chance", "share of the commonest label", _LABELLED, "max over labels of texts with it / texts"
    ),
}

_CORPUS_NAMES = {
    "held_out": "texts held out",
    "duplicates": "texts that repeat another",
    "rejected": "texts rejected",
    "held_out_tokens": "tokens held out",
    "train_tokens": "tokens trained on",
    "said": "in short",
}


def chapters(run: Run) -> list[Chapter]:
    """One, where the run has concept models or texts to train them on."""
    groups, corpora = concept_groups(run), [embeddings.corpus for embeddings in run.of(Embeddings).values()]
    if not groups and not any(corpora):
        return []
    gated = any(is_gated(group) for group in groups)
    terms = {name: term for name, term in TERMS.items() if gated or name not in _HARD}
    table = seed_table(run, groups, terms, _built, lambda group, name: name not in _HARD or is_gated(group))
    labelled = [group for group in groups if all("accuracy" in result.metrics for result in group.results)]
    with style.house_style():
        pictures = on_page(_draw(groups), _KEY)
    shown = {
        "findings": concept_findings(groups),
        "corpus": [_in_words(name, text) for corpus in corpora for name, text in flat(corpus)],
        "table": table,
        "labelled": seed_table(run, labelled, LABEL_TERMS, _built),
        "gated": gated,
        "figures": pictures,
    }
    gist = "" if groups else "The texts that concept models are to be trained on."
    named = [*terms.values()] if groups else []
    return [Chapter(_KEY, "Concept models", Path(__file__).parent / "page.html", shown, gist=gist, terms=named)]


def figures(run: Run) -> list[Drawn]:
    """Those of the chapter, as files; call it, and save what it gives, within `house_style()`."""
    return _draw(concept_groups(run))


def _draw(groups: Sequence[SeedGroup]) -> list[Drawn]:
    pictures = (draw(groups) for draw in (draw_sparsity, draw_recovered, draw_training, draw_loss_terms))
    return [figure for figure in pictures if figure is not None]


def _built(group: SeedGroup) -> str:
    """What the label of a concept model does not say of its kind and layer."""
    layer = f"layer {place_of(group)}"
    words = [group.named("kind") if group.named("kind") != group.named("name") else "", layer]
    return ", ".join(word for word in words if word and word not in group.label)


def _in_words(name: str, value: str) -> tuple[str, str]:
    """A fact of the corpus without the signs of its file: `rejected.too_short` -> `Rejected, too short`."""
    name = capital(_CORPUS_NAMES.get(name, name.replace("_", " ").replace(".", ", ")))
    value = "none" if value in ("{}", "[]", "null", "") else value
    return name, f"{int(value):,}" if value.isdecimal() else value
