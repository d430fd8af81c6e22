"""Is there anything to repair? Where a model seldom answers with the label words, their log-odds are mostly noise."""

from accord.errors import AccordError
from accord.gap.label_mass import label_masses
from accord.lm.model import LanguageModel
from accord.tasks import Task

LEAST = 0.1  # mean probability on the label words below which nothing is learnt from their log-odds
_MOST_ITEMS = 64  # training items: enough for a mean, and cheap beside any repair


def check_label_mass(lm: LanguageModel, task: Task, *, allowed: bool) -> None:
    """Raises AccordError if the label words get too little probability on the training items, unless allowed."""
    if allowed or not task.items:
        return
    step = max(1, len(task.items) // _MOST_ITEMS)
    items = task.items[::step][:_MOST_ITEMS]
    mass = float(label_masses(lm, task, items).mean())
    if mass < LEAST:
        raise AccordError(
            "this model seldom answers with the label words, so a repair would learn from noise",
            where=f"{lm.name}, {task.name}",
            got=f"{mass:.1%} of the probability on them, mean of {len(items)} training items",
            wanted=f"{LEAST:.0%} or more",
            fix=f"accord show TASK --model {lm.name} says what helps (worked examples, a wording, chat); "
            "or allow it: allow_low_mass = true in [[repair]], --set allow_low_mass=true",
        )
