"""The gap of a model on a task: both forms of every item scored, as tables that other tools open."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from accord.errors import AccordError
from accord.gap.metrics import Interval, layer_matrix, summarize, summarize_layers
from accord.gap.questions import Forms, as_read
from accord.lm.batching import Progress
from accord.lm.encoding import encode_prompt
from accord.lm.model import LanguageModel
from accord.lm.prompted import after_prompt
from accord.lm.scoring import Query, Score, check_queries, score
from accord.tasks import Task

# Items of one part file: what a killed run loses at most. Small beside a study, large beside a batch.
_PART = 128
# Positions of the token map's picture: more are not legible.
_LENS_POSITIONS = 16


@dataclass(frozen=True)
class Gap:
    """The generator/validator gap of one model on one task.

    Attributes:
        scores: a row an item: the item's fields, `group`, `similarity`, `gold`, `answer`, both prompts,
            `generator_logodds` l_G = log p(a | G) − log(1 − p(a | G)) of the answer's first token,
            `validator_logodds` l_V = log Σ p(yes forms | V) − log Σ p(no forms | V), `generator_logprob` of the
            whole answer, `generator_rank` of its first token, `yes_no_mass` Σ p(yes and no forms | V).
        metrics: each measure of `accord.gap.metrics.MEASURES` as {"value", "low", "high"}.
        layers: (item, layer, generator_logodds, validator_logodds) by the logit lens, or None.
        layer_metrics: (layer, metric, value, low, high), or None.
        layer_matrix: (generator_layer, validator_layer, pearson, pearson_yes, pearson_no), or None.
        lens: what the lens reads at each layer and position of the item whose two answers differ most: (item,
            form, position, token, layer, top, probability), or None.
    """

    scores: pd.DataFrame
    metrics: dict[str, Interval]
    layers: pd.DataFrame | None = None
    layer_metrics: pd.DataFrame | None = None
    layer_matrix: pd.DataFrame | None = None
    lens: pd.DataFrame | None = None

    def write(self, folder: Path) -> None:
        """Write `scores.parquet`, `metrics.json` and, where measured, the tables of the layers."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("scores", "layers", "layer_metrics", "layer_matrix", "lens"):
            table = getattr(self, name)
            if table is not None:
                table.to_parquet(folder / f"{name}.parquet", index=False)
        text = json.dumps(self.metrics, indent=2, allow_nan=False)
        (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")


def measure_gap(
    lm: LanguageModel,
    task: Task,
    *,
    layers: bool = False,
    seed: int = 0,
    resamples: int = 1000,
    parts: Path | None = None,
    progress: Progress | None = None,
) -> Gap:
    """Score every item of `task` in both forms, and measure how far they agree.

    Args:
        layers: also by the logit lens of every layer.
        seed: of the bootstrap.
        resamples: of the bootstrap; 0 for no intervals.
        parts: a folder for finished parts; what is whole there already is not computed again.
        progress: called with (items done, items in all).

    Raises:
        AccordError: the task has no items, the tokenizer has no single yes or no token, an answer tokenises to
            nothing, or logits are not finite.
    """
    if not task.items:
        raise AccordError("the task has no items", where=task.name, got=f"split {task.split!r}")
    forms = Forms.of(lm)
    prompts = [task.prompts(item) for item in task.items]
    queries = [forms.queries(lm, task, item) for item in task.items]
    check_queries(lm, [query for pair in queries for query in pair])
    # Neighbours in this order share prompts, so that a part computes few of them twice.
    order = sorted(range(len(queries)), key=lambda i: (prompts[i], i))
    tables = []
    for start in range(0, len(order), _PART):
        which = order[start : start + _PART]
        path = parts / f"{start:08d}.parquet" if parts else None
        tables.append(_part(lm, forms, which, queries, layers, path, _within(progress, start, len(which), len(order))))
        if progress:
            progress(start + len(which), len(order))
    values = pd.concat(tables).sort_values(["layer", "item"], kind="stable")
    top = values[values["layer"] == lm.n_layers].set_index("item")
    scores = _score_table(task, prompts, top)
    metrics = summarize(scores, seed=seed, resamples=resamples)
    if not layers:
        return Gap(scores, metrics)
    by_layer = values[["item", "layer", "generator_logodds", "validator_logodds"]].reset_index(drop=True)
    return Gap(
        scores,
        metrics,
        layers=by_layer,
        layer_metrics=summarize_layers(scores, by_layer, seed=seed, resamples=resamples),
        layer_matrix=layer_matrix(scores, by_layer),
        lens=_token_map(lm, scores, chat=task.chat),
    )


def _part(
    lm: LanguageModel,
    forms: Forms,
    which: Sequence[int],
    queries: Sequence[tuple[Query, Query]],
    layers: bool,
    path: Path | None,
    progress: Progress | None,
) -> pd.DataFrame:
    """Scores of some items, a row an item and layer; from `path` if they are there, else computed and put there."""
    if path is not None and path.exists():
        return pd.read_parquet(path)
    scored = score(lm, [query for i in which for query in queries[i]], layers=layers, progress=progress)
    rows = [row for i, pair in zip(which, _pairs(scored), strict=True) for row in _rows(lm, forms, i, *pair)]
    table = pd.DataFrame(rows)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".tmp")
        table.to_parquet(aside, index=False)
        aside.replace(path)
    return table


def _within(progress: Progress | None, start: int, size: int, n: int) -> Progress | None:
    """Progress over the tokens of a part, told as items of the whole."""
    if progress is None:
        return None
    return lambda done, total: progress(start + size * done // (total + 1), n)


def _pairs(scored: Sequence[Score]) -> Iterator[tuple[Score, Score]]:
    return zip(scored[::2], scored[1::2], strict=True)


def _rows(lm: LanguageModel, forms: Forms, item: int, generator: Score, validator: Score) -> Iterator[dict[str, Any]]:
    if generator.layer_logodds is not None and validator.layer_first is not None:
        l_g, l_v = generator.layer_logodds[:-1, 0], forms.logodds(validator.layer_first[:-1])
        for layer, (g, v) in enumerate(zip(l_g, l_v, strict=True)):
            yield {"item": item, "layer": layer, "generator_logodds": g, "validator_logodds": v}
    yield {
        "item": item,
        "layer": lm.n_layers,
        "generator_logodds": generator.logodds[0],
        "validator_logodds": float(forms.logodds(validator.first)),
        "generator_logprob": generator.total[0],
        "generator_rank": int(generator.rank[0]),
        "yes_no_mass": float(np.exp(np.logaddexp.reduce(validator.first))),
    }


def _score_table(task: Task, prompts: Sequence[tuple[str, str]], top: pd.DataFrame) -> pd.DataFrame:
    known = pd.DataFrame(
        {
            "group": [item.group for item in task.items],
            "similarity": [item.similarity for item in task.items],
            "gold": [item.gold for item in task.items],
            "answer": [item.answer for item in task.items],
            "generator_prompt": [generator for generator, _ in prompts],
            "validator_prompt": [validator for _, validator in prompts],
        }
    ).join(top.drop(columns="layer"))
    fields = pd.DataFrame([dict(item.fields) for item in task.items])
    table = fields.drop(columns=[name for name in fields if name in known and fields[name].equals(known[name])])
    # What else the data calls like a column of ours keeps its values under another name.
    table = table.rename(columns={name: f"field_{name}" for name in table if name in known})
    return table.join(known).astype({"generator_rank": "int64", "gold": "bool"})


@torch.no_grad()
def _token_map(lm: LanguageModel, scores: pd.DataFrame, *, chat: bool) -> pd.DataFrame:
    """The lens' most probable token at each layer and position, for the item whose two forms differ most in rank."""
    disagreement = (scores["generator_logodds"].rank() - scores["validator_logodds"].rank()).abs()
    item = int(disagreement.to_numpy().argmax())
    rows = []
    for form in ("generator", "validator"):
        prompt = as_read(lm, scores[f"{form}_prompt"].iloc[item], chat)
        ids = encode_prompt(lm.tokenizer, prompt, special=not chat)
        shown = range(max(0, len(ids) - _LENS_POSITIONS), len(ids))
        states = after_prompt(lm, len(ids)).hidden(
            torch.tensor([ids]), layers=range(lm.n_layers + 1), at=torch.tensor([list(shown)])
        )
        for layer, state in states.items():
            best, top = lm.lens(state[0]).softmax(-1).max(-1)
            for position, probability, token in zip(shown, best.tolist(), top.tolist(), strict=True):
                rows.append(
                    {
                        "item": item,
                        "form": form,
                        "position": position,
                        "token": lm.tokenizer.decode([ids[position]]),
                        "layer": layer,
                        "top": lm.tokenizer.decode([token]),
                        "probability": probability,
                    }
                )
    return pd.DataFrame(rows)
