"""How well a head predicts the next token, and how its training went."""

from accord.concepts.result import TrainedMetrics
from accord.intervals import brief


class HeadMetrics(TrainedMetrics):
    """A head on held-out embeddings.

    Attributes:
        metrics: row, concepts, reads, head (its kind), layer and seed (null for the backbone's own); held_out_ce (nats
            a token), start_ce (before training), unigram_ce (of the tokens' frequencies in training), seconds.
        curve: see `TrainedMetrics`.
    """

    def headline(self) -> str:
        """How well it predicts the next token."""
        own, unigram = (brief({"value": self.metrics.get(name)}) for name in ("held_out_ce", "unigram_ce"))
        return f"{own} nats a held-out token; {unigram} by frequencies"


RESULTS = {"heads": HeadMetrics}
OBJECTIVES = {"heads": ("held_out_ce", "start_ce", "unigram_ce", "seconds")}
