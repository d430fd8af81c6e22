"""The stage that counts letters."""

from collections.abc import Iterator

from accord.embeddings.result import HELD_OUT, Embeddings
from accord.embeddings.stage import embeddings
from accord.study.plan import Plan
from accord.study.stage import Stage
from accord.study.work import Work
from tests.toy_capability.config import ToySection
from tests.toy_capability.result import Letters


def stages(plan: Plan) -> Iterator[Stage]:
    """One, where the study has the section."""
    section = plan.the(ToySection)
    if section is None:
        return
    letter, made_from = section.letter, embeddings(plan)

    def make(work: Work) -> Letters:
        return Letters(sum(text.count(letter) for text in Embeddings.read(work.at(made_from)).texts(HELD_OUT)))

    yield Stage("toy", letter, make, {"letter": letter}, plan.seed, 1, {"embeddings": made_from})
