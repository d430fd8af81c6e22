"""lm-evaluation-harness: accord's models as its models, and its tasks on any two of them (extra `harness`)."""

from typing import TYPE_CHECKING

from accord.lazy import exports

if TYPE_CHECKING:
    from accord.harness.model import AccordLM
    from accord.harness.tasks import run_tasks

__all__ = ["AccordLM", "run_tasks"]

__getattr__, __dir__ = exports(__name__)
