"""A named dictionary in the format that Neuronpedia imports: features, activations token by token, explanations.

The folder is what its `convert-saedashboard-to-neuronpedia-export` makes (github.com/hijohnnylin/neuronpedia,
utils/neuronpedia-utils, 2026-08): JSON lines, those of many in gzip, up to `BATCH` features a file.

    model.jsonl, release.jsonl, sourceset.jsonl, source.jsonl      a line each: what the features are of
    features/, activations/, explanations/batch-N.jsonl.gz         a line a feature, an example, a name
"""

import gzip
import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from accord.arguments import checked
from accord.concepts.base import ConceptModel, Encoded
from accord.disk import whole
from accord.errors import AccordError
from accord.names.context import token_spans
from accord.names.dictionary import Side
from accord.names.result import NamedDictionary
from accord.text.reader import in_order

BATCH = 1024  # features of a file
BEFORE, AFTER = 48, 16  # tokens around the one that an example is of
_KINDS = ("top", "quantile")  # examples of a token of the training texts
_ROWS = 4096
_CREATOR = "clkht01d40000jv08hvalcvly"  # as its own scripts have it where nobody else is named


@dataclass(frozen=True)
class FeatureSource:
    """What the features are of, by the names that Neuronpedia has them by.

    Attributes:
        model: the language model, as TransformerLens calls it: "gpt2-small".
        name: of the set of sources that this is one of, short and without the layer: "accord-topk".
        layer: whose states the concepts read, numbered as in accord: 0 enters the first block.
        title: what people read of it.
        creator, creator_id: who made it, in words and as a user there.
        url: where to read of it.
        texts: the data set whose texts the examples are of.
        public: whether everybody sees it once it is imported.
    """

    model: str
    name: str
    layer: int
    title: str = ""
    creator: str = ""
    creator_id: str = _CREATOR
    url: str = ""
    texts: str = ""
    public: bool = False

    @property
    def block(self) -> int:
        """The block whose output this is (or whose input, of layer 0), from 0."""
        return max(self.layer - 1, 0)

    @property
    def hook(self) -> str:
        """Of these states, as TransformerLens calls them.

        >>> FeatureSource("gpt2-small", "accord-topk", layer=6).hook
        'blocks.5.hook_resid_post'
        """
        return f"blocks.{self.block}.hook_resid_{'post' if self.layer else 'pre'}"

    @property
    def id(self) -> str:
        """The source's own name."""
        return f"{self.block}-{self.name}"


@checked
def export_neuronpedia(
    named: NamedDictionary,
    model: ConceptModel,
    train: Side,
    tokenizer: PreTrainedTokenizerBase,
    source: FeatureSource,
    folder: Path | str,
) -> Path:
    """Write a dictionary for Neuronpedia: below `folder`, in MODEL/SOURCE, which is returned.

    A feature has its promoted and suppressed tokens, the histogram of its strengths, nearest concepts and, where what
    it writes does not depend on the state, that vector. Examples are the dictionary's own, the strongest and others
    drawn at random, with the strength at each token around them. The files of the same dictionary are the same, but for
    the moment that they were made at.

    Args:
        named: the dictionary, with or without names.
        model: its concept model.
        train: the embeddings and texts that its examples are of.
        tokenizer: that the texts were read with.

    Raises:
        AccordError: tokenizer or texts are not those of the embeddings, or the folder holds a file of this name.
    """
    place = Path(folder) / source.model / source.id
    if place.exists() and not place.is_dir():
        raise AccordError("there is a file where the export would go", where=place, fix="name another folder")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    marks = {"creatorId": source.creator_id, "createdAt": now}
    seen = "PUBLIC" if source.public else "PRIVATE"
    about: dict[str, dict[str, Any]] = {
        "model": {"id": source.model, "displayName": source.model, "displayNameShort": source.model, "instruct": False},
        "release": {
            "name": source.name,
            "description": source.title or source.name,
            "descriptionShort": source.title or source.name,
            "creatorName": source.creator,
            "creatorNameShort": source.creator,
            "urls": [source.url] if source.url else [],
        },
        "sourceset": {
            "modelId": source.model,
            "name": source.name,
            "description": source.title,
            "creatorName": source.creator,
            "releaseName": source.name,
        },
        "source": {
            "id": source.id,
            "modelId": source.model,
            "setName": source.name,
            "dataset": source.texts,
            "hasDashboards": True,
            "num_prompts": len(train.texts),
            "num_tokens_in_prompt": BEFORE + AFTER + 1,
        },
    }
    for name, table in about.items():
        visible = {} if name == "model" else {"visibility": seen}
        _write(place / f"{name}.jsonl", [{**table, **visible, **marks}])
    of = {"modelId": source.model, "layer": source.id, **marks}
    examples = _examples(named, train, tokenizer)
    _fill(examples, model, train, source.layer)
    vectors = _vectors(model)
    for older in place.glob(
        "*/batch-*.jsonl.gz"
    ):  # of a larger dictionary: whoever imports the folder imports them all
        older.unlink()
    for number, begin in enumerate(range(0, len(named.concepts), BATCH)):
        lines: dict[str, list[dict[str, Any]]] = {"features": [], "activations": [], "explanations": []}
        for row in named.concepts.iloc[begin : begin + BATCH].to_dict("records"):
            shown = [example for example in examples.get(row["concept"], []) if example.values.any()]
            largest = max((float(example.values.max()) for example in shown), default=0.0)
            lines["features"].append({**_feature(row, largest, source, vectors), **of})
            lines["activations"] += [{**_activation(example, i, source), **of} for i, example in enumerate(shown)]
            if isinstance(row.get("name"), str):
                lines["explanations"].append({**_explanation(row, named, source), **of})
        for kind, own in lines.items():
            _write(place / kind / f"batch-{number}.jsonl.gz", own)
    return place


@dataclass
class _Example:
    """Tokens of a text around one on which a concept fires, and its strength at each [token]."""

    concept: int
    text: int
    begin: int  # the first of its tokens in the text
    tokens: list[str]
    values: NDArray[np.float64]


def _examples(named: NamedDictionary, train: Side, tokenizer: PreTrainedTokenizerBase) -> dict[int, list[_Example]]:
    """By concept, each place once, the strengths still unknown."""
    table = named.examples[(named.examples["side"] == "train") & named.examples["kind"].isin(_KINDS)]
    table = table.drop_duplicates(["concept", "text", "position"])
    texts = list(train.texts["text"])
    tokens: dict[int, list[str]] = {}
    for text, spans in token_spans(tokenizer, texts, sorted(set(table["text"]))):
        ends = [0, *(end for _, end in spans)]  # what stands between two tokens goes with the second
        tokens[text] = [texts[text][begin:end] for begin, end in pairwise(ends)]
    examples: dict[int, list[_Example]] = defaultdict(list)
    for concept, text, position in table[["concept", "text", "position"]].itertuples(index=False):
        if position >= len(tokens[text]):
            got = f"token {position} of a text with {len(tokens[text])}"
            raise AccordError("the embeddings were made with another tokenizer, or of other texts", got=got)
        begin = max(0, position - BEFORE)
        own = tokens[text][begin : position + AFTER + 1]
        examples[int(concept)].append(_Example(int(concept), int(text), begin, own, np.full(len(own), np.nan)))
    return examples


@torch.no_grad()
def _fill(examples: dict[int, list[_Example]], model: ConceptModel, train: Side, layer: int) -> None:
    """Strengths where the concept fires, 0 elsewhere: all rows are read once, and those that somebody shows encoded.

    What a text has beyond the last token that was read is cut off: of it there is no strength.
    """
    wanted: dict[tuple[int, int], list[tuple[_Example, int]]] = defaultdict(list)
    for example in (each for own in examples.values() for each in own):
        for i in range(len(example.tokens)):
            wanted[example.text, example.begin + i].append((example, i))
    for batch in in_order(train.store, layer, _ROWS):
        places = list(zip(batch.text.tolist(), batch.position.tolist(), strict=True))
        rows = [row for row, place in enumerate(places) if place in wanted]
        if not rows:
            continue
        encoded = model.encode(batch.x[rows].to(model.mean))
        fires = model.harden(encoded).strength != 0
        strengths = torch.where(fires, encoded.strength, 0.0).cpu().double().numpy()
        for row, own in zip(rows, strengths, strict=True):
            for example, i in wanted[places[row]]:
                example.values[i] = own[example.concept]
    for example in (each for own in examples.values() for each in own):
        known = int(np.isfinite(example.values).sum())
        example.tokens, example.values = example.tokens[:known], example.values[:known]


@torch.no_grad()
def _vectors(model: ConceptModel) -> NDArray[np.float64] | None:
    """What each concept writes at strength 1 in raw space [K, d]; None where that depends on the state."""
    none = torch.zeros(1, model.K).to(model.mean)
    if model.encode(model.mean[None]).content is not None:
        return None
    base = model.decode(Encoded(none))
    parts = []
    for begin in range(0, model.K, _ROWS):
        own = torch.eye(model.K)[begin : begin + _ROWS].to(model.mean)
        parts.append((model.decode(Encoded(own)) - base).cpu().double().numpy())
    return np.concatenate(parts)


def _feature(
    row: dict[Any, Any], largest: float, source: FeatureSource, vectors: NDArray[np.float64] | None
) -> dict[str, Any]:
    concept, edges = int(row["concept"]), np.asarray(row["edges"], dtype=float)
    vector = [] if vectors is None else vectors[concept].round(6).tolist()
    up, down, near = (list(row[name]) for name in ("promoted", "suppressed", "neighbours"))
    return {
        "index": str(concept),
        "maxActApprox": largest,
        "hasVector": bool(vector),
        "vector": vector,
        "vectorDefaultSteerStrength": largest,
        "hookName": source.hook,
        "topkCosSimIndices": [int(other["concept"]) for other in near],
        "topkCosSimValues": [float(other["cosine"]) for other in near],
        "pos_str": [token["token"] for token in up],
        "pos_values": [float(token["change"]) for token in up],
        "neg_str": [token["token"] for token in down],
        "neg_values": [float(token["change"]) for token in down],
        "frac_nonzero": float(row["rate"]),
        "freq_hist_data_bar_heights": [float(count) for count in row["histogram"]],
        "freq_hist_data_bar_values": ((edges[:-1] + edges[1:]) / 2).tolist(),
        "sourceSetName": source.name,
    }


def _activation(example: _Example, number: int, source: FeatureSource) -> dict[str, Any]:
    top = int(example.values.argmax())
    return {
        "id": _key(source, example.concept, number),
        "index": str(example.concept),
        "tokens": example.tokens,
        "values": example.values.round(6).tolist(),
        "maxValue": float(example.values[top]),
        "maxValueTokenIndex": top,
        "minValue": float(example.values.min()),
    }


def _explanation(row: dict[Any, Any], named: NamedDictionary, source: FeatureSource) -> dict[str, Any]:
    score = row.get("detection")
    known = isinstance(score, float) and score == score
    return {
        "id": _key(source, int(row["concept"]), -1),
        "index": str(int(row["concept"])),
        "description": row["name"],
        "authorId": source.creator_id,
        "notes": f"named by accord ({named.metrics['annotator']})" + (f", detection {score:.2f}" if known else ""),
    }


def _key(source: FeatureSource, concept: int, number: int) -> str:
    """An id as its database has them, 25 letters and digits: the same of the same thing."""
    return "c" + hashlib.sha256(f"{source.model} {source.id} {concept} {number}".encode()).hexdigest()[:24]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with whole(path) as beside:
        data = text.encode()
        beside.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
