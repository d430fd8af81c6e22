"""`accord train`: the concept models and heads of a study, and nothing else of it."""

from accord.screen import tell
from accord.terminal import Replace, Study, StudyOut, progress_console


def train(study: Study, out: StudyOut = None, replace: Replace = False) -> None:
    """Train the concept models and heads of a study, and what they need before.

    Example: `accord train study.toml`
    """
    from accord.study.engine import run

    tell(run(study, out, console=progress_console(), only=["concepts", "heads"], replace=replace))


COMMANDS = (train,)
