"""The gap of a model on a task: both forms of every item scored, as tables that other tools open."""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from accord.arguments import checked
from accord.errors import AccordError
from accord.gap.answer_score import AnswerScore
from accord.gap.corrected import summarize_corrections
from accord.gap.metrics import layer_matrix, summarize, summarize_layers
from accord.gap.questions import LabelWords
from accord.gap.result import Gap
from accord.gap.typicality import Asked, Kind, contexts_and_answers, logprobs, null_context
from accord.lm.model import LanguageModel
from accord.lm.prefix_tree import Ids
from accord.lm.prompted import after_prompt
from accord.lm.scoring import Floats, Query, Score, Seen, check_queries, score
from accord.progress import Progress
from accord.tasks import Task, as_task
from accord.unfinished import each

# Items of one part file: what a killed run loses at most. Small beside a study, large beside a batch.
_PART = 128
# Items scored together where no part is kept: fuller batches, a fifth less time for a tiny model.
_TOGETHER = 1024
# Tokens of the answers that are scored together: a sequence is held for each of them.
_ANSWER_TOKENS = 2**14
# Positions of the token map's picture: more are not legible.
_LENS_POSITIONS = 16


@checked
def measure_gap(
    lm: LanguageModel,
    task: Task | str | Path | Mapping[str, Any],
    *,
    layers: bool = False,
    lens: bool = True,
    typicality: tuple[Kind, ...] = ("own",),
    resamples: int = 1000,
    parts: Path | None = None,
    progress: Progress | None = None,
    scored: Callable[[], None] | None = None,
    seen: Seen | None = None,
) -> Gap:
    """Score every item of `task` in both forms, and measure how far they agree.

    >>> lm = accord.load("smollm2-135m")
    >>> gap = accord.measure_gap(lm, accord.task("hypernymy", split="test", limit=6))
    >>> gap.scores[["answer", "gold", "generator_logodds", "validator_logodds"]].round(1).head(2)
       answer   gold  generator_logodds  validator_logodds
    0     toy  False              -11.7               -0.7
    1  insect   True               -1.6               -1.5
    >>> gap.metrics["generator_auc"]["value"]
    1.0

    Args:
        task: or what `accord.task` makes one of: a name, a task file, or a table of its keys.
        layers: also by the logit lens of every layer.
        lens: with `layers`, also what the lens reads at each layer and position of one item, which takes as long as
            scoring dozens of items.
        typicality: how typical each answer is by itself, by which its score can be corrected: "own", its
            log-probability after nothing; "negated", after the negated prompt, at the cost of a pass over the items.
        resamples: 0 for no intervals; any other number for them.
        parts: a folder for finished parts; what is whole there already is not computed again.
        progress: called with (items done, items in all).
        scored: called once all items are scored, before anything is made of the scores.
        seen: called with the states of the top layer as they are read; see `accord.lm.scoring.score`.

    Raises:
        AccordError: the task has no items, its label words cannot be told apart, an answer tokenises to nothing,
            or logits are not finite; it has no negated wording, and "negated" is asked for.
    """
    task = as_task(task)
    if not task.items:
        raise AccordError("the task has no items", where=task.name, got=f"split {task.split!r}")
    if "negated" in typicality:
        task.check_negated("negated")
    questions = _Questions(lm, task, layers)
    n, answer = len(task.items), questions.answer
    order = questions.order()
    tables, by_layer = [], _ByLayer(n, lm.n_layers + 1, task.labels.chooses) if layers else None
    size = _PART if parts or questions.answer_tokens * _TOGETHER > _ANSWER_TOKENS * n else _TOGETHER
    typical = _Typical(questions, typicality)
    whole = n + typical.total

    def told(done: int, _: int) -> None:
        if progress:
            progress(done * n // whole, n)

    makes: dict[str, Callable[[], pd.DataFrame]] = {}
    for start in range(0, n, size):
        which = order[start : start + size]
        within = _within(told, start, len(which), whole)
        makes[f"{start:08d}.parquet"] = partial(_part, questions, which, within, seen)
    ends = [*range(size, n, size), n]
    for name, make, more in typical.makes(size):
        makes[name] = make
        ends.append(ends[-1] + more)

    def there(number: int) -> None:
        told(ends[number - 1], whole)

    for name, part in zip(makes, each(parts, makes, there), strict=True):
        if typical.takes(name, part):
            continue
        tables.append(part[part["layer"] == lm.n_layers])
        if by_layer:
            by_layer.add(part)
    if scored:
        scored()
    scores = _score_table(task, pd.concat(tables).set_index("item").sort_index().join(typical.table()))
    scores.attrs |= answer.about
    metrics = {**summarize(scores, resamples=resamples), **answer.metrics}
    corrections = summarize_corrections(scores, resamples=resamples)
    if by_layer is None:
        return Gap(scores, metrics, answer.counted, corrections=corrections)
    table = by_layer.table()
    return Gap(
        scores,
        metrics,
        answer.counted,
        layers=table,
        layer_metrics=summarize_layers(scores, table, resamples=resamples),
        layer_matrix=layer_matrix(scores, table),
        lens=_token_map(questions, scores) if lens else None,
        corrections=corrections,
    )


class _Questions:
    """The questions of all items, made and checked before the first is asked.

    Of each item the context and answer of the generator and the context of the validator are kept, in 4 bytes a token:
    as tuples in queries they take 36.
    """

    def __init__(self, lm: LanguageModel, task: Task, layers: bool) -> None:
        self.lm, self.task, self.layers = lm, task, layers
        self.words, self.answer = LabelWords.of(lm, task), AnswerScore.of(lm, task)
        self._ids, self._ends = array("i"), array("q", [0])
        for start in range(0, len(task.items), _TOGETHER):
            pairs = self.words.queries(lm, task, task.items[start : start + _TOGETHER])
            check_queries(lm, [query for pair in pairs for query in pair])
            for generator, validator in pairs:
                for ids in (generator.context, generator.answers[0], validator.context):
                    self._ids.extend(ids)
                    self._ends.append(len(self._ids))

    def answers(self) -> Iterator[Ids]:
        """The tokens of each item's answer."""
        return (tuple(self._ids[a:b]) for a, b in zip(self._ends[1:-1:3], self._ends[2::3], strict=True))

    @property
    def answer_tokens(self) -> int:
        """Tokens of all answers together."""
        return sum(b - a for a, b in zip(self._ends[1:-1:3], self._ends[2::3], strict=True))

    def queries(self, item: int) -> tuple[Query, Query]:
        """Generator's and validator's."""
        ends = self._ends[3 * item : 3 * item + 4]
        context, answer, asked = (tuple(self._ids[a:b]) for a, b in pairwise(ends))
        return Query(context, (answer,)), Query(asked, self.words.all, compared=True)

    def order(self) -> list[int]:
        """All items, by prompt: neighbours in this order share prompts, so that a part computes few of them twice."""
        forms, items = (self.task.generator, self.task.validator), self.task.items
        # Worked examples stand before all of them.
        return sorted(range(len(items)), key=lambda i: tuple(form.filled(items[i]) for form in forms))


_COLUMNS: Mapping[Kind, str] = {"own": "typicality", "negated": "negated_typicality"}


class _Typical:
    """How typical the answers are, every distinct one scored once: parts of their own, put together as columns."""

    def __init__(self, questions: _Questions, kinds: tuple[Kind, ...]) -> None:
        lm, task = questions.lm, questions.task
        self._lm = lm
        self._distinct: dict[str, list[Asked]] = {}  # neighbours share prompts
        self._place: dict[str, list[int]] = {}  # of each item among these
        self._found: dict[str, list[float]] = {}
        for kind, column in _COLUMNS.items():
            if kind in kinds and (kind == "negated" or _has_null(lm, task)):
                every = contexts_and_answers(lm, task, task.items, questions.answers(), kind)
                self._distinct[column] = sorted(set(every))
                place = {each: i for i, each in enumerate(self._distinct[column])}
                self._place[column] = [place[each] for each in every]

    @property
    def total(self) -> int:
        """How many answers are scored."""
        return sum(map(len, self._distinct.values()))

    def makes(self, size: int) -> Iterator[tuple[str, Callable[[], pd.DataFrame], int]]:
        """Of each part of at most `size` answers its name, what makes it, and how many answers it has."""
        for column, distinct in self._distinct.items():
            for start in range(0, len(distinct), size):
                part = distinct[start : start + size]
                yield f"{column}-{start:08d}.parquet", partial(_typical_part, self._lm, part), len(part)

    def takes(self, name: str, part: pd.DataFrame) -> bool:
        """Take a part in, if it is one of these."""
        column = name.rpartition("-")[0]
        if column:
            self._found.setdefault(column, []).extend(part["logprob"])
        return bool(column)

    def table(self) -> pd.DataFrame:
        """A row an item, a column for each kind of typicality."""
        return pd.DataFrame({name: np.array(self._found[name])[place] for name, place in self._place.items()})


def _typical_part(lm: LanguageModel, part: Sequence[Asked]) -> pd.DataFrame:
    return pd.DataFrame({"logprob": logprobs(lm, part)})


def _has_null(lm: LanguageModel, task: Task) -> bool:
    """Whether something can stand for the empty context; without, there is no typicality, and all else is measured."""
    try:
        null_context(lm, task)
    except AccordError:
        return False
    return True


def _part(
    questions: _Questions, which: Sequence[int], progress: Progress | None, seen: Seen | None = None
) -> pd.DataFrame:
    """Scores of some items, a row an item and layer; most columns are of the top layer alone."""
    lm, words, answer = questions.lm, questions.words, questions.answer
    queries = [questions.queries(i) for i in which]
    scored = score(
        lm,
        [query for pair in queries for query in pair],
        layers=questions.layers,
        every_token=answer.counted != "first" or not words.single,
        seen=seen,
        progress=progress,
    )
    generator, validator = scored[::2], scored[1::2]
    logodds = np.array([[answer.logodds(each)] for each in generator])  # [item, layer]
    logprobs = np.stack([each.total for each in validator])[:, None]  # [item, layer, sequence]
    if questions.layers:
        below = np.stack([answer.by_layer(each)[:-1] for each in generator])
        logodds = np.concatenate([below, logodds], axis=1)
        logprobs = np.concatenate([np.stack([_by_layer(words, each)[:-1] for each in validator]), logprobs], axis=1)
    layers = range(lm.n_layers + 1 - logodds.shape[1], lm.n_layers + 1)
    labels = questions.task.labels
    targets = np.array([labels.target(questions.task.items[i]) for i in which], dtype=object)
    asked = np.empty_like(logodds)
    for label in set(targets):
        asked[targets == label] = words.logodds(logprobs[targets == label], label)
    table = pd.DataFrame(
        {
            "item": np.repeat(which, len(layers)),
            "layer": np.tile(layers, len(which)),
            "generator_logodds": logodds.ravel(),
            "validator_logodds": asked.ravel(),
            **({"validator_choice": words.choice(logprobs).ravel()} if labels.chooses else {}),
        }
    )
    tokens = [pair[0].answers[0][0] for pair in queries]
    shown = {token: lm.tokenizer.decode([token]) for token in dict.fromkeys(tokens)}
    top = {
        "generator_first_logodds": [each.logodds[0] for each in generator],
        "generator_logprob": [each.total[0] for each in generator],
        "generator_tokens": [len(each.steps[0]) for each in generator],
        "generator_rank": [each.rank[0] for each in generator],
        "answer_token": [shown[token] for token in tokens],
        "yes_no_mass": np.exp(np.logaddexp.reduce(logprobs[:, -1], axis=-1)),
    }
    return table.join(pd.DataFrame(top, index=table.index[table["layer"] == lm.n_layers]))


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


class _ByLayer:
    """The columns of every item and layer [layer, item], filled in part by part."""

    def __init__(self, n: int, layers: int, choices: bool) -> None:
        self._columns: dict[str, NDArray[Any]] = {
            name: np.empty((layers, n)) for name in ("generator_logodds", "validator_logodds")
        }
        if choices:
            self._columns["validator_choice"] = np.empty((layers, n), dtype=object)

    def add(self, part: pd.DataFrame) -> None:
        """Take in the rows of a part."""
        place = part["layer"].to_numpy(), part["item"].to_numpy()
        for name, column in self._columns.items():
            column[place] = part[name].to_numpy()

    def table(self) -> pd.DataFrame:
        """A row an item and layer, in the order of layers, then of items."""
        layers, n = self._columns["generator_logodds"].shape
        columns = {name: column.ravel() for name, column in self._columns.items()}
        return pd.DataFrame(
            {"item": np.tile(np.arange(n), layers), "layer": np.repeat(np.arange(layers), n), **columns}
        )


def _prompt_groups(task: Task) -> dict[str, list[str]]:
    """A column, where the data say which items answer one prompt; else those with the same generator prompt do."""
    if all(item.prompt is None for item in task.items):
        return {}
    return {"prompt_group": [item.prompt or task.generator.prompt(item) for item in task.items]}


def _score_table(task: Task, top: pd.DataFrame) -> pd.DataFrame:
    ours = pd.DataFrame(
        {
            "group": [item.group for item in task.items],
            "similarity": [item.similarity for item in task.items],
            "gold": [item.gold for item in task.items],
            "answer": [item.answer for item in task.items],
            "generator_prompt": [task.generator.prompt(item) for item in task.items],
            "validator_prompt": [task.validator.prompt(item) for item in task.items],
            **_prompt_groups(task),
            **({"label": [item.label for item in task.items]} if task.labels.chooses else {}),
        }
    ).join(top.drop(columns="layer"))
    fields = pd.DataFrame([dict(item.fields) for item in task.items])
    table = fields.drop(columns=[name for name in fields if name in ours and fields[name].equals(ours[name])])
    # What else the data calls like a column of ours keeps its values under another name.
    table = table.rename(columns={name: f"field_{name}" for name in table if name in ours})
    return table.join(ours).astype({"generator_rank": "int64", "generator_tokens": "int64", "gold": "bool"})


@torch.no_grad()
def _token_map(questions: _Questions, scores: pd.DataFrame) -> pd.DataFrame:
    """The lens' most probable token at each layer and position, for the item whose two forms differ most in rank."""
    disagreement = (scores["generator_logodds"].rank() - scores["validator_logodds"].rank()).abs()
    item = int(disagreement.to_numpy().argmax())
    rows, lm = [], questions.lm
    for form, query in zip(("generator", "validator"), questions.queries(item), strict=True):
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
