"""Stages that make embeddings of texts, and concept models on them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from accord.concepts import ConceptModel, Quality, Training, build, evaluate, fit, save
from accord.concepts.config import ConceptSection, TrainedSection
from accord.embeddings.config import TextSection
from accord.errors import AccordError
from accord.section import Layer
from accord.study.rows import suffix
from accord.study.stage import Progress, Run, Stage, finish, found_by, keep_if_same, write_json
from accord.study.store import Recipe
from accord.text import Batch, Corpus, EmbeddingStore, batches, corpus, extract, in_order
from accord.text.sources import source_fingerprint

if TYPE_CHECKING:
    from accord.heads import Recovered

EMBEDDINGS, TRAIN, HELD_OUT = "embeddings", "train", "held_out"
EMBEDDINGS_VERSION = 1  # raise these when the same settings give other files or numbers
CONCEPTS_VERSION = 1
ROWS_AT_ONCE = 4096


def embeddings_stage(run: Run, section: TextSection, layers: list[int], seed: int) -> Stage:
    """Divide the texts, and extract these layers of both sides. `section.source` is as the corpus takes it."""
    settings = {
        **run.identity(),
        # without `unit` where it is not given: nothing is made again that was made before there was this key
        "text": section.model_dump(exclude={"source"} if section.unit else {"source", "unit"}),
        "source": source_fingerprint(section.source),
        "layers": layers,
    }

    def make(work: Path, progress: Progress) -> dict[str, Any]:
        lm = run.lm()
        keep_if_same(work, found := found_by(lm))
        texts = read_corpus(section, seed)
        options = {"layers": layers, "max_length": section.max_length, "stride": section.stride, "dtype": section.dtype}
        sizes = {}
        for side, budget in ((HELD_OUT, section.held_out_tokens), (TRAIN, section.max_tokens)):
            chosen = texts.table[texts.table["held_out"] == (side == HELD_OUT)]
            store = extract(lm, list(chosen["text"]), work / side, max_tokens=budget, progress=progress, **options)  # type: ignore[arg-type]
            _keep_texts(chosen, store, work / f"{side}_texts.parquet")
            sizes[f"{side}_tokens"] = store.tokens
        write_json(work / "corpus.json", {**_describe(texts), **sizes})
        finish(work)
        return found

    return Stage(EMBEDDINGS, Recipe(EMBEDDINGS, EMBEDDINGS_VERSION, settings, seed), make)


def read_corpus(section: TextSection, seed: int) -> Corpus:
    """The corpus of a `[text]` section."""
    keys = section.model_dump(include={"column", "label", "split", "unit", "held_out", "limit"})
    texts = corpus(section.source, seed=seed, **keys)
    if not texts.held_out:
        raise AccordError(
            "No text is held out.",
            where=section.source,
            got=texts.describe(),
            wanted="two documents or more",
            fix='of one .txt or .md file take each line as a text: unit = "line"' if section.unit != "line" else None,
        )
    return texts


def texts_table(run: Run, side: str) -> pd.DataFrame:
    """The texts of a side whose embeddings are stored, a row each in their order, with what the corpus says of them."""
    return pd.read_parquet(run.at(EMBEDDINGS) / f"{side}_texts.parquet")


def held_out_texts(run: Run) -> list[str]:
    """The held-out texts whose embeddings are stored, in their order."""
    return list(texts_table(run, HELD_OUT)["text"])


def open_store(run: Run, side: str) -> EmbeddingStore:
    """The embeddings of one side."""
    return EmbeddingStore(run.at(EMBEDDINGS) / side)


def shuffled(
    store: EmbeddingStore, layer: int, size: int, seed: int, steps: int, progress: Progress
) -> Callable[[int], Iterator[Batch]]:
    """Training batches as the trainer asks for them, telling how far it is."""

    def supply(start: int) -> Iterator[Batch]:
        for step, batch in enumerate(batches(store, layer, size, seed=seed, start_step=start), start):
            progress(step, steps)
            yield batch

    return supply


def concept_name(section: ConceptSection, layer: Layer, seed: int) -> str:
    """Where in the run folder a concept model is."""
    return f"concepts/{section.title}{suffix(layer)}-s{seed}"


def concept_stage(run: Run, section: TrainedSection, place: tuple[Layer, int], seed: int, embeddings: Stage) -> Stage:
    """Train a concept model at a layer (as the study writes it, and its number), and judge it on held-out texts."""
    layer = place[1]
    about = {"name": section.title, "kind": section.kind, "layer": layer, "seed": seed}
    settings = {
        "inputs": [embeddings.recipe.fingerprint],
        **about,
        "model": section.config.model_dump(),
        "training": section.training.model_dump(),
    }

    def make(work: Path, progress: Progress) -> dict[str, Any]:
        lm = run.lm()
        keep_if_same(work, found := found_by(lm))
        train, held_out = open_store(run, TRAIN), open_store(run, HELD_OUT)
        training = section.training.schedule(train.tokens, seed)
        model = build(section.config, train.d_model, seed).to(lm.device)
        model.fit_scale(batch.x for batch in in_order(train, layer, ROWS_AT_ONCE))
        supply = shuffled(train, layer, section.training.batch, seed, training.steps, progress)
        seconds = _train(model, supply, training, held_out, layer, work)
        save(model, work)
        write_json(work / "metrics.json", {**about, **judge(run, model, layer, held_out), "seconds": seconds})
        finish(work, "checkpoints")
        return found

    name = concept_name(section, place[0], seed)
    return Stage(name, Recipe("concepts", CONCEPTS_VERSION, settings, seed), make)


def _train(
    model: ConceptModel,
    supply: Callable[[int], Iterator[Batch]],
    training: Training,
    held_out: EmbeddingStore,
    layer: int,
    work: Path,
) -> float:
    """Train in place, going on from a checkpoint in `work`; seconds that it took in all."""
    fitted = fit(
        model,
        lambda start: (batch.x for batch in supply(start)),
        training,
        held_out=lambda: (batch.x for batch in in_order(held_out, layer, ROWS_AT_ONCE)),
        folder=work,
    )
    return fitted.rows[-1]["seconds"]


def judge(run: Run, model: ConceptModel, layer: int, held_out: EmbeddingStore) -> dict[str, float | None]:
    """What metrics.json says of a concept model: its reconstruction of held-out embeddings, and CE recovered."""
    quality = evaluate(model, (batch.x for batch in in_order(held_out, layer, ROWS_AT_ONCE)))
    return {**_measures(quality), **recover(run, model, layer, held_out)}


def recover(run: Run, model: ConceptModel, layer: int, held_out: EmbeddingStore) -> dict[str, float | None]:
    """Cross-entropy recovered, soft and hard; null where putting in the mean does not hurt the backbone."""
    from accord.heads import recovered_on_rows, recovered_on_texts

    lm, found = run.lm(), None
    if layer == lm.n_layers:
        found = recovered_on_rows(lm, model, in_order(held_out, layer, ROWS_AT_ONCE))
    else:
        max_length = held_out.layout.settings["max_length"]
        found = recovered_on_texts(lm, layer, model, held_out_texts(run), max_length=max_length)
    return {
        "ce_recovered": _defined(found, "recovered"),
        "ce_recovered_hard": _defined(found, "recovered_hard"),
        "ce_original": found.original,
        "ce_ablated": found.ablated,
    }


def _defined(found: "Recovered", name: str) -> float | None:
    try:
        return float(getattr(found, name))
    except AccordError:
        return None


def _measures(quality: Quality) -> dict[str, float]:
    return {name: getattr(quality, name) for name in ("r2", "fvu", "r2_hard", "l0", "alive", "parameters")}


def _keep_texts(chosen: pd.DataFrame, store: EmbeddingStore, path: Path) -> None:
    """The texts up to the last that has a row in the store; `text` in the store counts in them."""
    skipped = store.layout.left_out["beyond"]
    last = len(chosen) - skipped
    chosen.head(last).drop(columns="held_out").to_parquet(path, index=False)


def _describe(texts: Corpus) -> dict[str, Any]:
    rejected = {reason: {"rows": len(places), "first": places[0]} for reason, places in texts.rejected.items()}
    return {
        "source": Path(texts.source).name if Path(texts.source).exists() else texts.source,
        "fingerprint": texts.fingerprint,
        "texts": len(texts.table),
        "held_out": len(texts.held_out),
        "duplicates": texts.duplicates,
        "documents": texts.documents,
        "rejected": json.loads(json.dumps(rejected)),
        "said": texts.describe(),
    }
