"""The gap of a model on a task: both forms of every item scored, as tables that other tools open."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from accord.arguments import checked
from accord.errors import AccordError
from accord.gap.answer_score import AnswerScore
from accord.gap.metrics import layer_matrix, summarize, summarize_layers
from accord.gap.questions import LabelWords
from accord.gap.result import Gap
from accord.lm.model import LanguageModel
from accord.lm.prompted import after_prompt
from accord.lm.scoring import Floats, Query, Score, check_queries, score
from accord.progress import Progress
from accord.tasks import Task, as_task
from accord.unfinished import once

# Items of one part file: what a killed run loses at most. Small beside a study, large beside a batch.
_PART = 128
# Positions of the token map's picture: more are not legible.
_LENS_POSITIONS = 16


@checked
def measure_gap(
    lm: LanguageModel,
    task: Task | str | Path | Mapping[str, Any],
    *,
    layers: bool = False,
    resamples: int = 1000,
    parts: Path | None = None,
    progress: Progress | None = None,
) -> Gap:
    """Score every item of `task` in both forms, and measure how far they agree.

    Args:
        task: or what `accord.task` makes one of: a name, a task file, or a table of its keys.
        layers: also by the logit lens of every layer.
        resamples: 0 for no intervals; any other number for them.
        parts: a folder for finished parts; what is whole there already is not computed again.
        progress: called with (items done, items in all).

    Raises:
        AccordError: the task has no items, its label words cannot be told apart, an answer tokenises to nothing,
            or logits are not finite.
    """
    task = as_task(task)
    if not task.items:
        raise AccordError("the task has no items", where=task.name, got=f"split {task.split!r}")
    words, answer = LabelWords.of(lm, task), AnswerScore.of(lm, task)
    prompts = [task.prompts(item) for item in task.items]
    queries = [words.queries(lm, task, item) for item in task.items]
    check_queries(lm, [query for pair in queries for query in pair])
    questions = _Questions(
        words, answer, [task.labels.target(item) for item in task.items], task.labels.chooses, queries, layers
    )
    # Neighbours in this order share prompts, so that a part computes few of them twice.
    order = sorted(range(len(queries)), key=lambda i: (prompts[i], i))
    tables = []
    for start in range(0, len(order), _PART):
        which = order[start : start + _PART]
        within = _within(progress, start, len(which), len(order))
        tables.append(once(parts, f"{start:08d}.parquet", partial(_part, lm, questions, which, within)))
        if progress:
            progress(start + len(which), len(order))
    values = pd.concat(tables).sort_values(["layer", "item"], kind="stable")
    top = values[values["layer"] == lm.n_layers].set_index("item")
    scores = _score_table(task, prompts, top)
    scores.attrs |= answer.about
    metrics = {**summarize(scores, resamples=resamples), **answer.metrics}
    if not layers:
        return Gap(scores, metrics, answer.counted)
    columns = ["item", "layer", "generator_logodds", "validator_logodds"]
    by_layer = values[columns + [name for name in ("validator_choice",) if name in values]].reset_index(drop=True)
    return Gap(
        scores,
        metrics,
        answer.counted,
        layers=by_layer,
        layer_metrics=summarize_layers(scores, by_layer, resamples=resamples),
        layer_matrix=layer_matrix(scores, by_layer),
        lens=_token_map(lm, scores, queries),
    )


@dataclass(frozen=True)
class _Questions:
    """The questions of all items; lists have an entry an item."""

    words: LabelWords
    answer: AnswerScore
    targets: list[str]  # the label whose log-odds are l_V
    chooses: bool
    queries: list[tuple[Query, Query]]
    layers: bool


def _part(lm: LanguageModel, questions: _Questions, which: Sequence[int], progress: Progress | None) -> pd.DataFrame:
    """Scores of some items, a row an item and layer."""
    every_token = questions.answer.counted != "first" or not questions.words.single
    queries = [query for i in which for query in questions.queries[i]]
    scored = score(lm, queries, layers=questions.layers, every_token=every_token, progress=progress)
    triples = zip(which, scored[::2], scored[1::2], strict=True)
    return pd.DataFrame(row for triple in triples for row in _rows(lm, questions, *triple))


def _within(progress: Progress | None, start: int, size: int, n: int) -> Progress | None:
    """Progress over the tokens of a part, counted as items of the whole."""
    if progress is None:
        return None
    return lambda done, total: progress(start + size * done // (total + 1), n)


def _by_layer(words: LabelWords, validator: Score) -> Floats:
    """log p [layer, answer] of whole answers by the lens of each layer, but for a constant a layer."""
    if words.single:
        assert validator.layer_first is not None
        return validator.layer_first
    assert validator.layer_steps is not None
    # log p = −log(1 + exp(−log-odds)), token by token
    return np.stack([-np.logaddexp(0, -steps).sum(-1) for steps in validator.layer_steps], axis=-1)


def _rows(
    lm: LanguageModel, questions: _Questions, item: int, generator: Score, validator: Score
) -> Iterator[dict[str, Any]]:
    def validated(logprobs: Floats) -> dict[str, Any]:
        row = {"validator_logodds": float(questions.words.logodds(logprobs, questions.targets[item]))}
        return {**row, "validator_choice": questions.words.choice(logprobs)} if questions.chooses else row

    if questions.layers:
        by_layer = zip(
            questions.answer.by_layer(generator)[:-1], _by_layer(questions.words, validator)[:-1], strict=True
        )
        for layer, (g, v) in enumerate(by_layer):
            yield {"item": item, "layer": layer, "generator_logodds": g, **validated(v)}
    yield {
        "item": item,
        "layer": lm.n_layers,
        "generator_logodds": questions.answer.logodds(generator),
        **validated(validator.total),
        "generator_first_logodds": generator.logodds[0],
        "generator_logprob": generator.total[0],
        "generator_tokens": len(generator.steps[0]),
        "generator_rank": int(generator.rank[0]),
        "answer_token": lm.tokenizer.decode(list(questions.queries[item][0].answers[0][:1])),
        "yes_no_mass": float(np.exp(np.logaddexp.reduce(validator.total))),
    }


def _score_table(task: Task, prompts: Sequence[tuple[str, str]], top: pd.DataFrame) -> pd.DataFrame:
    ours = pd.DataFrame(
        {
            "group": [item.group for item in task.items],
            "similarity": [item.similarity for item in task.items],
            "gold": [item.gold for item in task.items],
            "answer": [item.answer for item in task.items],
            "generator_prompt": [generator for generator, _ in prompts],
            "validator_prompt": [validator for _, validator in prompts],
            **({"label": [item.label for item in task.items]} if task.labels.chooses else {}),
        }
    ).join(top.drop(columns="layer"))
    fields = pd.DataFrame([dict(item.fields) for item in task.items])
    table = fields.drop(columns=[name for name in fields if name in ours and fields[name].equals(ours[name])])
    # What else the data calls like a column of ours keeps its values under another name.
    table = table.rename(columns={name: f"field_{name}" for name in table if name in ours})
    return table.join(ours).astype({"generator_rank": "int64", "generator_tokens": "int64", "gold": "bool"})


@torch.no_grad()
def _token_map(lm: LanguageModel, scores: pd.DataFrame, queries: Sequence[tuple[Query, Query]]) -> pd.DataFrame:
    """The lens' most probable token at each layer and position, for the item whose two forms differ most in rank."""
    disagreement = (scores["generator_logodds"].rank() - scores["validator_logodds"].rank()).abs()
    item = int(disagreement.to_numpy().argmax())
    rows = []
    for form, query in zip(("generator", "validator"), queries[item], strict=True):
        ids = query.context
        positions = range(max(0, len(ids) - _LENS_POSITIONS), len(ids))
        states = after_prompt(lm, len(ids)).hidden(
            torch.tensor([ids]), layers=range(lm.n_layers + 1), at=torch.tensor([list(positions)])
        )
        for layer, state in states.items():
            best, top = lm.lens(state[0]).softmax(-1).max(-1)
            for position, probability, token in zip(positions, best.tolist(), top.tolist(), strict=True):
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
