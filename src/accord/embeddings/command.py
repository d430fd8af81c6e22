"""`accord embed`: the embeddings of a study, and nothing else of it."""

from accord.screen import tell
from accord.terminal import Replace, Study, StudyOut, progress_console


def embed(study: Study, out: StudyOut = None, replace: Replace = False) -> None:
    """Extract the embeddings of a study's texts, and stop there.

    Example: `accord embed study.toml`
    """
    from accord.study.engine import run

    tell(run(study, out, console=progress_console(), only=["embeddings"], replace=replace))


COMMANDS = (embed,)
