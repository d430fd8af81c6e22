"""Supervised fine-tuning on gold answers, in the forms that Rodriguez et al. (arXiv 2504.11381) compare."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from accord.errors import AccordError
from accord.lm.model import LanguageModel
from accord.progress import Progress
from accord.repair.config import SFT, check_task
from accord.repair.method import PairBatch, TaskPairs, drawn
from accord.repair.scores import Pair, Terms
from accord.tasks import Item, Task
from accord.tasks.as_read import Prompt


def answer_loss(pairs: Sequence[Pair], scores: Tensor) -> Terms:
    """Mean of −log p over the answers' tokens: what fine-tuning on the answer only minimises."""
    return {"answers": -scores.sum() / sum(len(pair.answer) for pair in pairs)}


@dataclass
class FineTuning:
    """See `accord.repair.method.Method`."""

    config: SFT
    examples: list[list[Pair]]  # of each item that trains
    seed: int
    memory: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def build(cls, config: SFT, lm: LanguageModel, task: Task, seed: int, progress: Progress | None) -> "FineTuning":
        """Raises AccordError where the task has no negated wording and one is asked for, or nothing would train."""
        forms = TaskPairs.of(lm, task)
        check_task(task, config)
        items = [item for item in task.items if item.gold or not config.positives_only]
        examples = [pairs for item in items if (pairs := _examples(config, forms, item))]
        if not examples:
            raise AccordError("no item trains this form", where=f"{task.name}, form {config.form}", got="no gold yes")
        return cls(config, examples, seed)

    def batch(self, lm: LanguageModel, step: int) -> PairBatch:
        """See `Method.batch`."""
        chosen = drawn(len(self.examples), self.config.batch, step, self.seed)
        pairs = [pair for i in chosen for pair in self.examples[i]]
        return PairBatch(pairs, lambda scores: answer_loss(pairs, scores), {"pairs": len(pairs)})


def _examples(config: SFT, forms: TaskPairs, item: Item) -> list[Pair]:
    generates, negated = item.gold or config.negation, not item.gold
    word = forms.task.labels.word(item)
    generator = [forms.generator(item, negated=negated)] if generates else []
    validator = [forms.validator_word(item, word)]
    if config.form == "joint" and generates:
        # Worked examples of both forms stand before both, so that all texts of a batch begin alike. The second answer
        # has the first form and its answer before it.
        generator_form, validator_form = forms.task.generator, forms.task.validator
        statement, question = generator_form.filled(item, negated=negated), validator_form.filled(item)
        shots = (*generator_form.shown, *validator_form.shown)
        first = "\n\n".join((*shots, generator_form.answered(statement, item.answer), question))
        second = "\n\n".join((*shots, validator_form.answered(question, word), statement))
        joint = [(first, word), (second, item.answer)]
        pairs = [Pair(*Prompt(text, validator_form.join).answered(forms.lm, answer)) for text, answer in joint]
        return [*generator, pairs[0], *validator, pairs[1]]
    return {"generator": generator, "validator": validator, "union": generator + validator, "joint": []}[config.form]
