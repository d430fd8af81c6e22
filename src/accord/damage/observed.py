"""What a model does with the questions: measured once on a base, then on each model that was made from it.

States of the top layer are kept beside the scores, at the prompts' ends and at the first tokens of the texts: logits of
two models can then be compared without running the first again, and are never stored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.arguments import checked
from accord.damage.free_text import write_free
from accord.damage.questions import Questions
from accord.errors import AccordError
from accord.gap import LabelWords, measure_gap
from accord.lm.marked import States, as_tensors, from_tensors, joined
from accord.lm.model import LanguageModel
from accord.lm.perplexity import Perplexity, read_tokens, token_losses
from accord.lm.prefix_tree import Ids
from accord.lm.scoring import score
from accord.lm.windows import TokenTexts, tokenize
from accord.progress import Progress
from accord.spread import apart, onward
from accord.tasks import Task
from accord.unfinished import belongs, each

Floats = NDArray[np.float64]

STATES = 4096  # tokens of the texts whose states are kept: enough for a mean over tokens, 9 MB at width 576
_TEXTS = 64  # of a part
_MAX_LENGTH = 1024
_DOCUMENTS = 300  # that a task of lm-evaluation-harness counts for, before anyone knows how many it has


@dataclass(frozen=True)
class TaskAnswers:
    """A task's answers. Arrays have an entry an item, states a row a distinct prompt in the order of the items.

    Attributes:
        generator_logprob: log p of the whole answer after the generator prompt.
        validator_logodds: l_V, see `accord.gap`.
        yes_no_mass: probability on the label words together.
        states: form -> top layer's states [prompt, d] at the prompts' ends.
    """

    generator_logprob: Floats
    validator_logodds: Floats
    yes_no_mass: Floats
    states: dict[str, States]


@dataclass(frozen=True)
class Observed:
    """What a model did with `Questions`.

    Attributes:
        texts: −log p of each text, and its tokens.
        owner: of the first `STATES` tokens of the texts, the text of each [token].
        states: and the top layer's state before each [token, d], in the model's own precision.
        tasks: answers by the name of the task.
        own: score table of the repaired task (see `accord.gap.measure_gap`), or None.
        harness: what tasks of lm-evaluation-harness gave, see `accord.harness.run_tasks`; None where there are none.
        free: free texts: prompt, text, tokens, finished; where judged, judge_nll and judge_tokens of what follows
            the prompt.
    """

    texts: Perplexity
    owner: NDArray[np.int64]
    states: States
    tasks: dict[str, TaskAnswers]
    own: pd.DataFrame | None
    free: pd.DataFrame
    harness: pd.DataFrame | None = None


@checked
def observe(
    lm: LanguageModel,
    questions: Questions,
    *,
    judge: LanguageModel | None = None,
    scores: pd.DataFrame | None = None,
    parts: Path | None = None,
    progress: Progress | None = None,
) -> Observed:
    """Ask a model all questions.

    Args:
        judge: a third model that reads the free texts; without it they are only counted.
        scores: the model's score table of `questions.own`, where it is known.
        parts: a folder for finished parts; what is there is not computed again, so a finished one is only read.
        progress: called with (questions done, questions in all), texts, items and samples alike, and documents of
            tasks of lm-evaluation-harness as if each task had some hundreds.

    Raises:
        AccordError: the folder is of other questions, label words of a task cannot be told apart, no text has a token
            to score, logits are not finite, or memory runs out on one text.
    """
    settings = {"model": lm.settings(), "judge": judge.settings() if judge else None, **questions.settings()}
    belongs(parts, settings)
    own = questions.own if scores is None else None
    sizes = [len(questions.texts), *(len(task.items) for task in questions.all_tasks), len(own.items) if own else 0]
    sizes += [questions.samples, _DOCUMENTS * len(questions.harness)]
    progress = onward(progress)
    bars = [_within(progress, size, sum(sizes[:i]), sum(sizes)) for i, size in enumerate(sizes)]
    steps: list[Callable[[], Any]] = [
        partial(_read, lm, questions.texts, parts, bars[0]),
        partial(_ask, lm, questions.all_tasks, parts, bars[1:-3]),
        lambda: scores if own is None else _score_own(lm, own, parts, bars[-3]),
        partial(write_free, lm, questions, judge, parts, bars[-2]),
        partial(_do_tasks, lm, questions, parts, bars[-1]),
    ]
    (texts, owner, states), tasks, found, free, done = apart(steps)
    if progress:
        progress(sum(sizes), sum(sizes))
    return Observed(texts, owner, states, tasks, found, free, done)


def _within(progress: Progress | None, size: int, begun: int, total: int) -> Progress | None:
    """Progress of a step that is worth `size`, as progress of the whole."""
    if progress is None:
        return None
    return lambda done, of: progress(begun + size * done // max(of, 1), total)


def _score_own(lm: LanguageModel, own: Task, parts: Path | None, progress: Progress | None) -> pd.DataFrame:
    folder = parts and parts / "own"
    return measure_gap(lm, own, typicality=(), resamples=0, parts=folder, progress=progress).scores


def _do_tasks(
    lm: LanguageModel, questions: Questions, parts: Path | None, progress: Progress | None
) -> pd.DataFrame | None:
    if not questions.harness:
        return None
    from accord.harness.tasks import run_tasks

    where = parts and parts / "harness"
    return run_tasks(lm, questions.harness, limit=questions.harness_limit, parts=where, progress=progress)


def _read(
    lm: LanguageModel, texts: Sequence[str], parts: Path | None, progress: Progress | None
) -> tuple[Perplexity, NDArray[np.int64], States]:
    makes, room = {}, STATES
    for start in range(0, len(texts), _TEXTS):
        some = texts[start : start + _TEXTS]
        read = tokenize(lm, some, max_length=_MAX_LENGTH)
        within = _within(progress, len(some), start, len(texts))
        makes[f"texts-{start:06}.safetensors"] = partial(_read_part, lm, read, room, within)
        room -= len(_owners(read, room))
    read_parts = [{**part, "owner": part["owner"] + _TEXTS * number} for number, part in enumerate(each(parts, makes))]
    if not any(part["tokens"].any() for part in read_parts):
        raise AccordError("no text has a token to score", got=f"{len(texts)} texts", wanted="longer ones")
    nll, tokens, owner = (torch.cat([part[key] for part in read_parts]).numpy() for key in ("nll", "tokens", "owner"))
    states = joined([from_tensors(part, "states") for part in read_parts if "states" in part])
    return Perplexity(nll, tokens), owner, states


@torch.no_grad()
def _read_part(lm: LanguageModel, tokens: TokenTexts, room: int, progress: Progress | None) -> dict[str, Tensor]:
    """nll and tokens [text]; owner and states (none without a token) of the scored tokens among the first `room`."""
    texts = len(tokens.offsets) - 1
    nll, counts = np.zeros(texts), np.zeros(texts, dtype=np.int64)
    size = min(len(tokens.ids), max(room, 0))
    slots: list[NDArray[np.int64]] = []  # the places of tokens in the order they are read in
    pieces: list[States] = []  # and the states before them

    def visit(owner: NDArray[np.int64], place: NDArray[np.int64], states: States, targets: Tensor) -> None:
        losses = token_losses(lm, states, targets)
        np.add.at(nll, owner, losses)
        np.add.at(counts, owner, 1)
        slot = tokens.offsets[owner] + place
        near = np.flatnonzero(slot < size)
        if len(near):
            pieces.append(states[torch.from_numpy(near)].cpu())
            slots.append(slot[near])

    read_tokens(lm, tokens, visit, progress=progress)
    read = {"nll": torch.from_numpy(nll), "tokens": torch.from_numpy(counts)}
    read["owner"] = torch.from_numpy(_owners(tokens, room))
    if pieces:
        in_order = joined(pieces)[torch.from_numpy(np.concatenate(slots).argsort())]
        read |= as_tensors(in_order, "states")
    return read


def _owners(tokens: TokenTexts, room: int) -> NDArray[np.int64]:
    """The text of each token among the first `room` that is scored: a first one is not without a start token."""
    lengths = np.diff(tokens.offsets)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    scored = np.ones(len(owners), dtype=bool)
    if not tokens.lead:
        scored[tokens.offsets[:-1][lengths > 0]] = False
    size = max(room, 0)
    return owners[:size][scored[:size]]


def _ask(
    lm: LanguageModel, tasks: Sequence[Task], parts: Path | None, progress: Sequence[Progress | None]
) -> dict[str, TaskAnswers]:
    words = {task.name: LabelWords.of(lm, task) for task in tasks}
    makes = {
        f"task-{task.name}.safetensors": partial(_ask_all, lm, words[task.name], task, bar)
        for task, bar in zip(tasks, progress, strict=True)
    }
    return {task.name: _answers(part) for task, part in zip(tasks, each(parts, makes), strict=True)}


def _answers(answers: Mapping[str, Tensor]) -> TaskAnswers:
    states = {form: from_tensors(answers, f"{form}_states") for form in ("generator", "validator")}
    logprob, logodds, mass = (answers[key].numpy() for key in ("generator_logprob", "validator_logodds", "yes_no_mass"))
    return TaskAnswers(logprob, logodds, mass, states)


def _ask_all(lm: LanguageModel, words: LabelWords, task: Task, progress: Progress | None) -> dict[str, Tensor]:
    pairs = words.queries(lm, task, task.items)
    contexts = [list(dict.fromkeys(pair[form].context for pair in pairs)) for form in (0, 1)]
    prompts = {context for side in contexts for context in side}
    ends: dict[Ids, States] = {}  # each [1, d]

    def seen(sequences: Sequence[Ids], states: States) -> None:
        on_cpu = states.cpu()
        ends.update({ids: on_cpu[i : i + 1] for i, ids in enumerate(sequences) if ids in prompts})

    scored = score(lm, [query for pair in pairs for query in pair], seen=seen, progress=progress)
    logprobs = np.stack([validator.total for validator in scored[1::2]])
    targets = [task.labels.target(item) for item in task.items]
    logodds = [float(words.logodds(row, label)) for row, label in zip(logprobs, targets, strict=True)]
    return {
        "generator_logprob": torch.tensor([generator.total[0] for generator in scored[::2]], dtype=torch.float64),
        "validator_logodds": torch.tensor(logodds, dtype=torch.float64),
        "yes_no_mass": torch.from_numpy(np.exp(np.logaddexp.reduce(logprobs, axis=-1))),
        **as_tensors(joined([ends[ids] for ids in contexts[0]]), "generator_states"),
        **as_tensors(joined([ends[ids] for ids in contexts[1]]), "validator_states"),
    }
