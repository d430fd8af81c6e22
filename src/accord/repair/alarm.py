"""The alarm of a ranking that runs off: pairs are ever better ordered while every answer becomes unlikely.

A ranking loss sees differences only. Taught to whole answers, it can fall while the answers that the teacher prefers
lose hundreds of nats, as long as the others lose more. The likelihood of the preferred ones is therefore watched.
"""

import math
from collections.abc import Mapping, Sequence

from accord.errors import AccordError

NOW, BEFORE, TOKENS = "answers_logprob", "answers_logprob_base", "answers_tokens"
"""Names in a curve: mean log p a token of the answers that the teacher prefers; the same under the base model; how many
tokens they have, on average."""

WINDOW = 5
"""Steps whose mean counts: single batches differ."""

_A_TOKEN = 1.0  # nats that every token may lose: orders of answers are learnt within
_SHOWN = 6  # steps of the curves that are told


def check_likelihood(rows: Sequence[Mapping[str, float]], vocab_size: int) -> None:
    """Stop a training whose preferred answers are lost, on average over `WINDOW` steps.

    They are where an answer is less than 1/|V|² times as likely as under the base model, and a token of it less than
    1/e times: more than another order of a few answers takes, and more than long ones drift. Raises AccordError with
    the step and both curves: the loss, and what a token of these answers costs.

    >>> check_likelihood([{"step": i, "loss": 1.0, NOW: -1.5, BEFORE: -1.0, TOKENS: 40} for i in range(9)], 50_000)
    """
    watched = [row for row in rows[-WINDOW:] if NOW in row]
    if len(watched) < WINDOW:
        return
    token = sum(row[BEFORE] - row[NOW] for row in watched) / WINDOW
    whole = sum((row[BEFORE] - row[NOW]) * row[TOKENS] for row in watched) / WINDOW
    limit = 2 * math.log(vocab_size)
    if token <= _A_TOKEN or whole <= limit:
        return
    watched = [row for row in rows if NOW in row]
    places = sorted({round(i * (len(watched) - 1) / (_SHOWN - 1)) for i in range(_SHOWN)})
    told = [watched[place] for place in places]
    raise AccordError(
        "training stopped: the answers that are to be ranked first get lost",
        where=f"step {rows[-1]['step']}",
        got="; ".join(f"step {row['step']}: loss {row['loss']:.3g}, {-row[NOW]:.3g} nats a token" for row in told),
        wanted=f"at most {_A_TOKEN:g} nat a token, or {limit:.0f} an answer, more than the base model's",
        fix="anchor it: likelihood = 1.0; or lower lr, or fewer steps",
    )
