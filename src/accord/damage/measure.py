"""What a repair cost: both models answer the same questions, and what changed is a table and a sentence."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from accord.arguments import checked
from accord.damage import measures
from accord.damage.changes import RELATIONS, Changes
from accord.damage.distance import Distance, distance
from accord.damage.harness_tasks import task_rows
from accord.damage.observed import Observed, observe
from accord.damage.questions import Questions
from accord.damage.result import DOCUMENT_COLUMNS, Damage
from accord.damage.wording import sentence
from accord.errors import AccordError
from accord.gap.change import same_items
from accord.lm.model import LanguageModel
from accord.progress import Progress
from accord.relations import FACTS
from accord.tasks import Task

Scores = tuple[pd.DataFrame, pd.DataFrame]


@checked
def measure_damage(
    base: LanguageModel,
    repaired: LanguageModel,
    *,
    texts: Sequence[str],
    own: Task | None = None,
    tasks: Sequence[Task] = (),
    facts: int = FACTS,
    judge: LanguageModel | None = None,
    scores: Scores | None = None,
    seed: int = 0,
    resamples: int = 1000,
    samples: int = 32,
    new_tokens: int = 60,
    harness: Sequence[str] = (),
    harness_limit: int | None = None,
    parts: Path | None = None,
    progress: Progress | None = None,
) -> Damage:
    """Ask two models the same questions, and compare. For many with one base, `observe` it once and use `compare`.

    >>> lm = accord.load("smollm2-135m")
    >>> damage = measure_damage(lm, lm, texts=["Bees make honey.", "It rained all day."], facts=0, samples=0)
    >>> damage.table[["measure", "base", "repaired", "worsened"]].head(1).round(1)
          measure    base  repaired  worsened
    0  perplexity  1721.0    1721.0     False
    >>> damage.sentence
    'Nothing got measurably worse, in 2 measures of 2 texts. Every next-token distribution is that of the base.'

    Args:
        texts: ordinary text that the repair was not fitted on.
        own: the task that was repaired, on items that the repair never saw; shows how its generator drifted.
        tasks: other tasks, whose answers should be as before.
        facts: of each relation that no repair learns from, at most; 0 for none.
        judge: a third model that reads the free texts.
        scores: score tables of base and repaired on `own` (or on any one task), where they are known.
        seed: of the free texts and their exchanges.
        resamples: exchanges of free texts behind their intervals; 0 for no intervals at all.
        samples, new_tokens: how many free texts, and how long.
        harness, harness_limit: tasks of lm-evaluation-harness that both models do, and documents of each, at most; see
            `accord.harness.run_tasks`.
        parts: a folder for finished parts: a killed run goes on from there.
        progress: called with (questions done, questions in all).

    Raises:
        AccordError: the questions make no sense, the models read with different tokenizers, `parts` is of other
            questions, or a model fails.
    """
    questions = Questions(texts, own, tasks, facts, samples, new_tokens, seed, harness, harness_limit)
    check_pair(base, repaired)
    score_tables: tuple[pd.DataFrame | None, pd.DataFrame | None] = scores or (None, None)
    observed = []
    for i, (name, lm) in enumerate((("base", base), ("repaired", repaired))):
        bar = _half(progress, i)
        where = parts / name if parts else None
        observed.append(observe(lm, questions, judge=judge, scores=score_tables[i], parts=where, progress=bar))
    return compare(base, observed[0], repaired, observed[1], questions, seed=seed, resamples=resamples)


def _half(progress: Progress | None, which: int) -> Progress | None:
    """Progress of one of two models as progress of both."""
    if progress is None:
        return None
    return lambda done, total: progress(which * total + done, 2 * total)


def check_pair(base: LanguageModel, repaired: LanguageModel) -> None:
    """AccordError unless two models speak of the same tokens."""
    if base.vocab_size != repaired.vocab_size or base.tokenizer.get_vocab() != repaired.tokenizer.get_vocab():
        raise AccordError(
            "damage is measured token by token, and these models have different tokens",
            got=f"{base.name}: {base.vocab_size}, {repaired.name}: {repaired.vocab_size}",
            wanted="a model that was made from the base",
        )


@checked
def compare(
    base: LanguageModel,
    before: Observed,
    repaired: LanguageModel,
    after: Observed,
    questions: Questions,
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> Damage:
    """What changed between two models that answered `questions`: only lenses run, no forward pass.

    Raises:
        AccordError: the observations are not of the same questions, or logits are not finite.
    """
    check_pair(base, repaired)
    if len(before.texts.nll) != len(after.texts.nll) or before.tasks.keys() != after.tasks.keys():
        raise AccordError("these two models were asked different questions", got=f"{base.name}, {repaired.name}")
    changes = Changes(seed, resamples)
    far = distance(base, before.states, repaired, after.states)
    measures.text_rows(changes, before.texts, after.texts, before.owner, far)
    _add_prompts(changes, base, before, repaired, after, questions)
    if before.own is not None and after.own is not None:
        same_items(before.own, after.own)
        measures.drift_rows(changes, before.own, after.own)
    if len(before.free):
        measures.free_rows(changes, before.free, after.free)
    documents = _document_table(before, after)
    task_rows(changes, documents)
    table = changes.table()
    tables = _text_table(questions, before, after), _fact_table(questions, before, after), _free_table(before, after)
    return Damage(table, sentence(table), *tables, documents)


def _add_prompts(
    changes: Changes,
    base: LanguageModel,
    before: Observed,
    repaired: LanguageModel,
    after: Observed,
    questions: Questions,
) -> None:
    """Rows of all relations together, of every other task, and of every single relation."""
    far = {
        (task.name, form): distance(
            base, before.tasks[task.name].states[form], repaired, after.tasks[task.name].states[form]
        )
        for task in questions.all_tasks
        for form in ("generator", "validator")
    }
    relations = {name: [task.name for task in tasks] for name, tasks in questions.relations.items()}
    names = [name for members in relations.values() for name in members]
    groups = {RELATIONS: names} if names else {}
    groups |= {task.name: [task.name] for task in questions.tasks}
    groups |= {f"{RELATIONS}: {relation}": members for relation, members in relations.items()}
    for group, members in groups.items():
        for form in ("generator", "validator"):
            measures.prompt_rows(changes, group, form, _joined([far[name, form] for name in members]))
        if set(members) <= set(names):
            sides = ([side.tasks[name] for name in members] for side in (before, after))
            measures.fact_rows(changes, group, *sides)


def _joined(parts: Sequence[Distance]) -> Distance:
    keys = ("forward", "backward", "same")
    return Distance(*(np.concatenate([getattr(part, key) for part in parts]) for key in keys))


def _text_table(questions: Questions, before: Observed, after: Observed) -> pd.DataFrame:
    columns = {"text": list(questions.texts), "tokens": before.texts.tokens}
    return pd.DataFrame({**columns, "nll_base": before.texts.nll, "nll_repaired": after.texts.nll})


def _fact_table(questions: Questions, before: Observed, after: Observed) -> pd.DataFrame:
    tables = [pd.DataFrame()]
    for relation, task in ((name, task) for name, tasks in questions.relations.items() for task in tasks):
        columns: dict[str, Any] = {
            "relation": relation,
            "wording": task.validator.phrasing,
            "subject": [item.fields["subject"] for item in task.items[::2]],
            "answer": [item.answer for item in task.items[::2]],
            "wrong": [item.answer for item in task.items[1::2]],
        }
        for side, observed in (("base", before), ("repaired", after)):
            answers = observed.tasks[task.name]
            for i, which in enumerate(("answer", "wrong")):
                columns[f"{which}_logprob_{side}"] = answers.generator_logprob[i::2]
                columns[f"{which}_logodds_{side}"] = answers.validator_logodds[i::2]
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables[1:] or tables, ignore_index=True)


def _document_table(before: Observed, after: Observed) -> pd.DataFrame:
    """Tasks of lm-evaluation-harness, both models' numbers of each document and metric. AccordError if they differ."""
    if before.harness is None or after.harness is None:
        return pd.DataFrame(columns=list(DOCUMENT_COLUMNS))
    keys = ["asked", "task", "metric", "better", "aggregation", "document", "hash"]
    if not before.harness[keys].equals(after.harness[keys]):
        raise AccordError(
            "both models did not do the same documents of a task of lm-evaluation-harness",
            fix="its data changed in between: observe the base again (remove its stage, or name other parts)",
        )
    sides = {
        f"{name}_{side}": table[name]
        for name in ("value", "weight", "reported")
        for side, table in (("base", before.harness), ("repaired", after.harness))
    }
    return before.harness[keys].assign(**sides)[list(DOCUMENT_COLUMNS)]


def _free_table(before: Observed, after: Observed) -> pd.DataFrame:
    texts = {"prompt": before.free["prompt"], "base": before.free["text"], "repaired": after.free["text"]}
    table = pd.DataFrame(texts).astype("str")  # of none, too
    for side, free in (("base", before.free), ("repaired", after.free)):
        if free["judge_tokens"].notna().any():
            tokens = free["judge_tokens"].where(free["judge_tokens"] > 0)
            table[f"{side}_perplexity"] = np.exp(free["judge_nll"] / tokens)
    return table
