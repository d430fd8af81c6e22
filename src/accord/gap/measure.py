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
from accord.lm.batching import Progress
from accord.lm.encoding import chat_text, encode_answer, encode_prompt, single_tokens
from accord.lm.model import LanguageModel
from accord.lm.scoring import Floats, Query, Score, score
from accord.tasks import Item, Task

YES_FORMS = ("Yes", " Yes", "YES", "yes", " yes")
NO_FORMS = ("No", " No", "NO", "no", " no")
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
    forms = _Forms.of(lm)
    prompts = [task.prompts(item) for item in task.items]
    queries = [forms.queries(lm, task, item, pair) for item, pair in zip(task.items, prompts, strict=True)]
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


@dataclass(frozen=True)
class _Forms:
    """Ids of the validator's answers."""

    yes: tuple[int, ...]
    no: tuple[int, ...]

    @classmethod
    def of(cls, lm: LanguageModel) -> "_Forms":
        return cls(single_tokens(lm.tokenizer, YES_FORMS), single_tokens(lm.tokenizer, NO_FORMS))

    def queries(self, lm: LanguageModel, task: Task, item: Item, prompts: tuple[str, str]) -> tuple[Query, Query]:
        generator, validator = (_as_read(lm, prompt, task.chat) for prompt in prompts)
        context, answer = encode_answer(lm.tokenizer, generator, item.answer, special=not task.chat)
        asked = encode_prompt(lm.tokenizer, validator, special=not task.chat)
        return Query(context, (answer,)), Query(asked, tuple((i,) for i in self.yes + self.no))

    def logodds(self, first: Floats) -> Floats:
        """l_V from log-probabilities [..., form]."""
        split = len(self.yes)
        yes, no = np.logaddexp.reduce(first[..., :split], -1), np.logaddexp.reduce(first[..., split:], -1)
        return np.asarray(yes - no)


def _as_read(lm: LanguageModel, prompt: str, chat: bool) -> str:
    return chat_text(lm.tokenizer, prompt) if chat else prompt


def _part(
    lm: LanguageModel,
    forms: _Forms,
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


def _rows(lm: LanguageModel, forms: _Forms, item: int, generator: Score, validator: Score) -> Iterator[dict[str, Any]]:
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
    records = []
    for item, (generator, validator) in zip(task.items, prompts, strict=True):
        records.append(
            {
                **item.fields,  # a field of the same name as a column below gives way to it
                "group": item.group,
                "similarity": item.similarity,
                "gold": item.gold,
                "answer": item.answer,
                "generator_prompt": generator,
                "validator_prompt": validator,
            }
        )
    table = pd.DataFrame(records).join(top.drop(columns="layer"))
    return table.astype({"generator_rank": "int64", "gold": "bool"})


@torch.no_grad()
def _token_map(lm: LanguageModel, scores: pd.DataFrame, *, chat: bool) -> pd.DataFrame:
    """The lens' most probable token at each layer and position, for the item whose two forms differ most in rank."""
    disagreement = (scores["generator_logodds"].rank() - scores["validator_logodds"].rank()).abs()
    item = int(disagreement.to_numpy().argmax())
    rows = []
    for form in ("generator", "validator"):
        prompt = _as_read(lm, scores[f"{form}_prompt"].iloc[item], chat)
        ids = encode_prompt(lm.tokenizer, prompt, special=not chat)
        shown = range(max(0, len(ids) - _LENS_POSITIONS), len(ids))
        states = lm.hidden(torch.tensor([ids]), layers=range(lm.n_layers + 1), at=torch.tensor([list(shown)]))
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
