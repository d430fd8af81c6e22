"""The alarm of a ranking that runs off: pairs are ever better ordered while every answer becomes as unlikely as noise.

A ranking loss sees differences only. Taught to whole answers, it can fall while the answers that the teacher prefers
lose hundreds of nats, as long as the others lose more. The likelihood of the preferred ones is therefore watched.
"""

import math
from collections.abc import Mapping, Sequence

from accord.errors import AccordError

NOW, BEFORE = "answers_logprob", "answers_logprob_base"
"""Names in a curve: mean log p a token of the answers that the teacher prefers; the same under the base model."""

WINDOW = 5
"""Steps whose mean counts: single batches differ."""

_SHOWN = 6  # steps of the curves that are told


def check_likelihood(rows: Sequence[Mapping[str, float]], vocab_size: int) -> None:
    """Stop a training whose preferred answers have lost more than log |V| nats a token, on average over `WINDOW` steps.

    By then a token of theirs is less than 1/|V| times as likely as under the base model, what no order of answers asks
    for. Raises AccordError with the step and both curves: the loss, and what a token of these answers costs.

    >>> check_likelihood([{"step": i, "loss": 1.0, NOW: -2.0, BEFORE: -1.0} for i in range(9)], 50_000)
    """
    watched = [row for row in rows[-WINDOW:] if NOW in row]
    if len(watched) < WINDOW:
        return
    lost = sum(row[BEFORE] - row[NOW] for row in watched) / WINDOW
    if lost <= math.log(vocab_size):
        return
    watched = [row for row in rows if NOW in row]
    places = sorted({round(i * (len(watched) - 1) / (_SHOWN - 1)) for i in range(_SHOWN)})
    told = [watched[place] for place in places]
    raise AccordError(
        "training stopped: answers that are ranked first have become as unlikely as noise",
        where=f"step {rows[-1]['step']}",
        got="; ".join(f"step {row['step']}: loss {row['loss']:.3g}, {-row[NOW]:.3g} nats a token" for row in told),
        wanted=f"at most {math.log(vocab_size):.1f} nats more than the base model's {-watched[-1][BEFORE]:.3g}",
        fix="anchor it: likelihood = 1.0; or lower lr, or fewer steps",
    )
