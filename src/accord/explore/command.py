"""`accord explore`: walk around in a run or a model, on a local page."""

from pathlib import Path
from typing import Annotated

import typer

from accord.errors import AccordError
from accord.lm.config import BackboneSection
from accord.tasks.config import QuestionSection
from accord.terminal import QUESTION, OptionOf, Seed


def explore(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A run folder; or name a model with --model.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A model alone; of a run, the place of its model where that is another now.")
    ] = None,
    question: Annotated[QuestionSection | None, QUESTION] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Of a model alone: items that are measured; 200 by default.")
    ] = None,
    seed: Seed = 0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    *,
    device: Annotated[str, OptionOf(BackboneSection, "device")],
) -> None:
    """Walk around in a run or a model: ask anything in both forms, see items and concepts, steer, compare repairs.

    A page on this machine alone (127.0.0.1), under an address that holds a random token; it asks nothing of another
    host. Needs the extra `explore`.

    Examples:

    - `accord explore runs/demo`
    - `accord explore --model smollm2-135m --task hypernymy`
    - `accord explore runs/demo --port 8123 --no-browser`
    """
    from accord.explore.server import check_library, serve_subject
    from accord.explore.subject import Subject
    from accord.loading import check_model

    if run is None and model is None:
        raise AccordError("There is nothing to explore.", fix="name a run folder, or a model: --model MODEL")
    if run is not None and question is not None:
        raise AccordError("A run has questions of its own.", got=f"--task {question.task}", fix="leave --task off")
    given = [*([f"--limit {limit}"] if limit is not None else []), *([f"--seed {seed}"] if seed else [])]
    if run is not None and given:
        raise AccordError("A run has items and seeds of its own.", got=", ".join(given), fix="leave them off")
    check_library()
    if run is not None:
        subject = Subject.of_run(run, model=model, device=None if device == "auto" else device)
    else:
        assert model is not None
        check_model(model)
        questions = {} if question is None else {question.task: question}
        subject = Subject(BackboneSection(model=model, device=device), questions, seed=seed, limit=limit or 200)
    serve_subject(subject, port=port, browser=browser)


COMMANDS = (explore,)
