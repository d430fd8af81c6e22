"""What the explorer finds, in a sentence."""

from typing import TYPE_CHECKING

from accord.report.wording import number

if TYPE_CHECKING:
    from accord.explore.asking import BothForms

_LITTLE = 0.5  # of the probability on the label words


def said_of(both: "BothForms") -> str:
    """Whether a model says an answer, and whether it affirms it."""
    rank = both.generator_rank
    place = "is its first choice" if rank == 1 else f"is its choice number {rank:,}"
    completing = f"Completing, “{both.answer}” {place} (log-odds {number(both.generator_logodds, 1, bare=False)})."
    odds = number(both.validator_logodds, 1, bare=False)
    if both.choice is not None:
        asked = f"Asked, it chooses “{both.choice}” (log-odds of the right label {odds})."
    else:
        asked = f"Asked, it {'affirms' if both.affirms else 'denies'} it (log-odds of yes {odds})."
    if both.mass >= _LITTLE:
        return f"{completing} {asked}"
    told = f"But the label words get only {both.mass:.0%} of the probability, so this says little."
    return f"{completing} {asked} {told}"
