"""What the explorer finds, in a sentence, and its numbers in words."""

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


def signed(value: float, digits: int = 1) -> str:
    """A log-odds, or what it loses, with its sign."""
    return number(value, digits, bare=False, signed=True)


def share(value: float) -> str:
    """A probability in per cent, with decimals where it is small.

    >>> share(0.126), share(0.0042), share(0.00001)
    ('13 %', '0.4 %', '< 0.1 %')
    """
    if value < 0.001:
        return "< 0.1 %"
    return f"{100 * value:.0f} %" if value >= 0.0995 else f"{100 * value:.1f} %"
