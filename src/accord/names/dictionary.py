"""The concept dictionary: for every live concept where it fires, what it promotes, what is near it, and examples.

`concepts` has a row a live concept (it fires on at least 0.1 % of all tokens, and somewhere in the training texts):

    concept             its number
    rate, rate_held_out share of tokens it fires on: of both sides, of the held-out one
    count, mean, max    of both sides: tokens it fires on, mean and largest strength there
    histogram, edges    strengths of those tokens: counts of the bins, from the first to the last that is not empty
    types               kinds of token that mark it: token, share of its firings (in a sample of them), usual share of
                        all training tokens, mean strength; by share · log(share / usual), what each adds to the
                        divergence of what it fires on from what there is
    promoted            tokens it makes more probable: token, id, change of the logit at its mean strength
    suppressed          tokens it makes less probable, likewise
    neighbours          nearest live concepts: concept, cosine of what they write in standardised space
    label_on, label_off, label_t, label_texts, label   where the corpus has labels: see `TextLabels`

`examples` has a row an example: concept, side (train or held_out), kind, band, strength, text (its number among the
side's texts), position (of the token), token, before, after. Kinds:

    top       the strongest training tokens, few of a type
    quantile  training tokens drawn at random from all it fires on; band 1 is their weakest quarter, 4 the strongest
    text      training texts with the highest mean strength: no token is marked, `before` is how the text begins
    on        held-out tokens drawn at random from all it fires on, those that have an `off` first
    off       a token near each of those (same context, in the same order) on which it is off, where there is one
    negative  held-out tokens drawn at random, with no token in the context on which it fires
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from accord.arguments import checked
from accord.concepts.base import ConceptModel
from accord.concepts.quality import ALIVE
from accord.errors import AccordError
from accord.lm.backbone import Backbone
from accord.names.collect import Collected, Sizes, collect
from accord.names.context import contexts, token_types
from accord.names.effects import moved_tokens, nearest, through_lens, written
from accord.names.entries import Best, Ints
from accord.names.labels import TextLabels
from accord.names.result import CONCEPTS, EXAMPLES
from accord.text.reader import batches
from accord.text.store import EmbeddingStore

BANDS = 4
_STATES = 64  # real states at which the lens is linearised
_BEGINNING = 300  # letters of a top text that are shown


@dataclass(frozen=True)
class Shown:
    """How many of each a dictionary has.

    Attributes:
        top, each: strongest training tokens of a concept, and how many of them may be of one type.
        band: tokens from each quarter of its strengths.
        texts: top texts.
        held_out: held-out tokens of each kind.
        tokens: promoted and suppressed tokens; kinds of token.
        neighbours: nearest concepts.
    """

    top: int = 12
    each: int = 3
    band: int = 3
    texts: int = 3
    held_out: int = 10
    tokens: int = 10
    neighbours: int = 5


@dataclass(frozen=True)
class Side:
    """The embeddings of a side of a corpus, and its texts with their labels, if any."""

    store: EmbeddingStore
    texts: pd.DataFrame


@dataclass(frozen=True)
class Dictionary:
    """The two tables; see the head of this file."""

    concepts: pd.DataFrame
    examples: pd.DataFrame

    def write(self, folder: Path) -> None:
        """As `concepts.parquet` and `examples.parquet`."""
        self.concepts.to_parquet(folder / CONCEPTS, index=False)
        self.examples.to_parquet(folder / EXAMPLES, index=False)

    @classmethod
    def read(cls, folder: Path) -> "Dictionary":
        """What `write` wrote."""
        return cls(pd.read_parquet(folder / CONCEPTS), pd.read_parquet(folder / EXAMPLES))


@checked
def build_dictionary(
    model: ConceptModel,
    backbone: Backbone,
    layer: int,
    train: Side,
    held_out: Side,
    *,
    shown: Shown | None = None,
    seed: int = 0,
) -> Dictionary:
    """Read both stores once, and write down what the concepts do.

    Args:
        backbone: whose tokenizer and head are read.
        layer: of the stores.
        seed: fixes the examples that are drawn.

    Raises:
        AccordError: no concept is live, no such layer, a decoder that is not the same for all rows, or the stores are
            not of these texts and this tokenizer.
    """
    model.check_decodes("a concept dictionary", alike=True)
    model.check_layer(layer)
    shown = shown or Shown()
    types, names = token_types(backbone.tokenizer, backbone.vocab_size)
    labels = _labels(model, train, held_out)
    sizes = Sizes(shown.top, shown.each, sample=max(100, shown.band * BANDS * 4), texts=shown.texts)
    learned = collect(model, train.store, layer, types, sizes, labels=labels, seed=seed)
    judged_sizes = Sizes(sample=shown.held_out, pool=50 * shown.held_out)
    first = len(train.texts)
    judged = collect(model, held_out.store, layer, types, judged_sizes, labels=labels, first_label=first, seed=seed)
    live = _live(learned, judged)
    table = _numbers(learned, judged, live)
    table["types"] = pd.Series(_types(learned, live, names, shown.tokens))
    states = next(batches(train.store, layer, min(_STATES, train.store.tokens), seed=seed)).x
    _add_effects(table, model, backbone, written(model, learned)[live], states, shown)
    if labels is not None:
        table = pd.concat([table, labels.table().iloc[live].reset_index(drop=True)], axis=1)
    places = [
        _places(_training_examples(learned, live, shown), backbone, train, "train"),
        _places(_held_out_examples(judged, live, shown, seed), backbone, held_out, "held_out"),
    ]
    examples = pd.concat(places).sort_values(["concept", "side", "kind", "band"], kind="stable", ignore_index=True)
    return Dictionary(table, examples)


def _labels(model: ConceptModel, train: Side, held_out: Side) -> TextLabels | None:
    if "label" not in train.texts:
        return None
    return TextLabels(model.K, [*train.texts["label"], *held_out.texts["label"]])


def _live(learned: Collected, judged: Collected) -> Ints:
    rate = (learned.count + judged.count) / (learned.tokens + judged.tokens)
    live = np.flatnonzero((rate >= ALIVE) & (learned.count > 0))
    if not len(live):
        raise AccordError("no concept is live", got=f"largest rate {rate.max():.2g}", wanted=f"at least {ALIVE}")
    return live


def _numbers(learned: Collected, judged: Collected, live: Ints) -> pd.DataFrame:
    count = (learned.count + judged.count)[live]
    histogram, edges = (learned.histogram + judged.histogram)[live], learned.bins.edges
    spans = [(int(bins.nonzero()[0][0]), int(bins.nonzero()[0][-1]) + 1) for bins in histogram]
    return pd.DataFrame(
        {
            "concept": live,
            "rate": count / (learned.tokens + judged.tokens),
            "rate_held_out": judged.count[live] / judged.tokens,
            "count": count,
            "mean": (learned.total + judged.total)[live] / count,
            "max": np.maximum(learned.largest, judged.largest)[live],
            "histogram": [bins[a:b].tolist() for bins, (a, b) in zip(histogram, spans, strict=True)],
            "edges": [edges[a : b + 1].tolist() for a, b in spans],
        }
    )


def _types(learned: Collected, live: Ints, names: list[str], count: int) -> list[list[dict[str, Any]]]:
    sample = pd.DataFrame({key: learned.sample.columns[key] for key in ("concept", "type", "strength")})
    by = sample.groupby(["concept", "type"])["strength"].agg(["size", "mean"]).reset_index()
    share = by["size"] / by.groupby("concept")["size"].transform("sum")
    usual = learned.frequency[by["type"]] / learned.tokens
    by = by.assign(share=share, usual=usual, adds=share * np.log(share / usual))
    by = by.sort_values(["concept", "adds", "mean"], ascending=[True, False, False], kind="stable")
    by = by[by.groupby("concept").cumcount() < count]
    entries: dict[int, list[dict[str, Any]]] = {}
    columns = (by[name].tolist() for name in ("concept", "type", "share", "usual", "mean"))
    for concept, kind, *numbers in zip(*columns, strict=True):
        named = dict(zip(("share", "usual", "strength"), numbers, strict=True))
        entries.setdefault(concept, []).append({"token": names[kind], **named})
    return [entries[concept] for concept in live.tolist()]


def _add_effects(
    table: pd.DataFrame,
    model: ConceptModel,
    backbone: Backbone,
    directions: torch.Tensor,
    states: torch.Tensor,
    shown: Shown,
) -> None:
    def words(pair: tuple[torch.Tensor, torch.Tensor]) -> list[list[dict[str, Any]]]:
        written = {i: backbone.tokenizer.decode([i]) for i in {i for ids in pair[1].tolist() for i in ids}}
        return [
            [{"token": written[i], "id": i, "change": c} for i, c in zip(ids, change, strict=True)]
            for change, ids in zip(pair[0].tolist(), pair[1].tolist(), strict=True)
        ]

    up, down = moved_tokens(backbone, through_lens(backbone, states, directions), shown.tokens)
    table["promoted"], table["suppressed"] = pd.Series(words(up)), pd.Series(words(down))
    cosine, which = nearest(directions / model.scale, shown.neighbours)
    live = table["concept"].to_numpy()
    near = [
        [{"concept": int(live[i]), "cosine": c} for i, c in zip(row, cosines, strict=True)]
        for row, cosines in zip(which.tolist(), cosine.tolist(), strict=True)
    ]
    table["neighbours"] = pd.Series(near)


def _training_examples(learned: Collected, live: Ints, shown: Shown) -> list[pd.DataFrame]:
    top, sample, texts = (_entries(best, live) for best in (learned.top, learned.sample, learned.texts))
    ranked = sample.sort_values(["concept", "strength", "chance"], kind="stable")
    own = ranked.groupby("concept")
    place, n = own.cumcount(), own["concept"].transform("size")
    quarter = sum(((place >= n * band // BANDS).astype("int64") for band in range(1, BANDS)), start=1)
    drawn = ranked.assign(kind="quantile", band=quarter)
    drawn = drawn.sort_values(["concept", "band", "chance"], ascending=[True, True, False], kind="stable")
    drawn = drawn[drawn.groupby(["concept", "band"]).cumcount() < shown.band]
    return [
        top.assign(kind="top", band=0),
        drawn,
        texts.assign(kind="text", band=0, position=-1, strength=texts["rank"]),
    ]


def _held_out_examples(judged: Collected, live: Ints, shown: Shown, seed: int) -> list[pd.DataFrame]:
    on = _entries(judged.sample, live).assign(kind="on", band=0)
    on = on.assign(alone=on["beside"] == 0).sort_values(["concept", "alone"], kind="stable")
    off = on[~on["alone"]].assign(kind="off", strength=0.0)
    off["position"] += off["beside"]
    quiet, pool = np.ascontiguousarray(judged.quiet.T), np.array(judged.pool, dtype=np.int64).reshape(-1, 2)
    chosen = [
        np.random.default_rng([seed, concept]).permutation(np.flatnonzero(quiet[concept]))[: shown.held_out]
        for concept in live.tolist()
    ]
    text, position = pool[np.concatenate(chosen)].T
    negative = pd.DataFrame(
        {"concept": np.repeat(live, [len(own) for own in chosen]), "text": text, "position": position}
    )
    return [on, off, negative.assign(kind="negative", band=0, strength=0.0)]


def _entries(best: Best, live: Ints) -> pd.DataFrame:
    """What is kept of the live concepts, concept by concept, the best first."""
    names = ("concept", "strength", "text", "position", "chance", "rank", "beside")
    table = pd.DataFrame(best.columns).reindex(columns=list(names))
    return table[table["concept"].isin(live)]


def _places(examples: list[pd.DataFrame], backbone: Backbone, side: Side, name: str) -> pd.DataFrame:
    """The examples with their text."""
    rows, texts = pd.concat(examples, ignore_index=True), list(side.texts["text"])
    places = list(zip(rows["text"].astype("int64").tolist(), rows["position"].astype("int64").tolist(), strict=True))
    around = contexts(backbone.tokenizer, texts, [place for place in places if place[1] >= 0])
    found = [around[place] if place[1] >= 0 else (texts[place[0]][:_BEGINNING], "", "") for place in places]
    before, token, after = zip(*found, strict=True) if found else ((), (), ())
    rows = rows.assign(side=name, token=list(token), before=list(before), after=list(after))
    numbers = {"concept": "int64", "band": "int64", "strength": "float64", "text": "int64", "position": "int64"}
    return rows[["concept", "side", "kind", "band", "strength", "text", "position", "token", "before", "after"]].astype(
        numbers
    )
