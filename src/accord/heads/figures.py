"""The figure of the heads: how their training went."""

from collections.abc import Sequence

from accord.report.drawn import Drawn
from accord.report.seed_curves import draw_curves
from accord.report.seeds import SeedGroup


def draw_training(heads: Sequence[SeedGroup]) -> Drawn | None:
    """Held-out cross-entropy by step, for every head that was trained."""
    return draw_curves(
        heads,
        "held_out_ce",
        name="head-training",
        title="Held-out cross-entropy of the heads",
        axis="held-out CE",
        caption="Nats a token on texts that a head was not trained on, as training goes on; where it rises again, the "
        "head has begun to learn its texts by heart, and the weights before are kept. Thin: each seed. Thick: their "
        "mean.",
    )
