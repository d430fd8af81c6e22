"""Is all that a study file asks for there? Found out before any weights are loaded."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel

from accord.errors import AccordError, nearest
from accord.gap.config import GapSection
from accord.lm.config import BackboneSection
from accord.study.config import StudyFile, together
from accord.study.gap_stages import check_model
from accord.tasks import CustomTask, Task, catalog
from accord.tasks import task as make_task


def check(file: StudyFile) -> list[Task]:
    """Build the tasks of all sections, and see that the model has a name that can be found.

    Raises AccordError, listing every problem with its line. Loads no weights and fetches nothing.
    """
    from accord.study.plan import explained
    from accord.study.validate_concepts import problems as concept_problems
    from accord.study.validate_repairs import problems as repair_problems

    problems: list[AccordError] = []
    tasks: list[Task] = []
    with collected(problems, file, ("backbone",), file.study.backbone):
        check_model(backbone_of(file).model)
    sound = set(file.study.tasks)
    for name, custom in file.study.tasks.items():
        with collected(problems, file, ("tasks", name), custom):
            sound.discard(name)
            task_in(file, GapSection(task=name, split="all"))
            sound.add(name)
    for index, section in enumerate(file.study.gap):
        if section.task in sound or section.task not in file.study.tasks:
            with collected(problems, file, ("gap", index), section):
                tasks.append(task_in(file, section))
    problems += _twice(file)
    study = file.study
    if not any((study.gap, study.repair, study.text, study.concepts, study.heads, study.perplexity)):
        wanted = "a [[gap]] or [[repair]] section, or [text] and [[concepts]]"
        problems.append(AccordError("The study asks for nothing.", where=file.path, wanted=wanted))
    problems += concept_problems(file, collected)
    problems += repair_problems(file, collected)
    if not problems and study.explain is not None:
        with collected(problems, file, ("explain",), study.explain):
            explained(file, study.explain, tasks)
    if problems:
        raise together(problems, file.path)
    return tasks


def backbone_of(file: StudyFile) -> BackboneSection:
    """The backbone, with a path to a model taken relative to the study file."""
    backbone = file.study.backbone
    beside = file.beside(backbone.model).absolute()  # saved models name it, and are loaded from anywhere
    return backbone.model_copy(update={"model": str(beside)}) if beside.exists() else backbone


def task_of(section: GapSection, name: str | CustomTask, data: Path | None, seed: int) -> Task:
    """The task that a gap section asks for."""
    return make_task(
        name,
        data=data,
        split=section.split,
        split_kind=section.split_kind,
        limit=section.limit,
        generator_shots=section.generator_shots,
        validator_shots=section.validator_shots,
        generator_phrasing=section.generator_phrasing,
        validator_phrasing=section.validator_phrasing,
        chat=section.chat,
        system=section.system,
        chat_options=section.chat_options,
        chat_turns=section.chat_turns,
        answer_score=section.answer_score,
        seed=seed,
    )


def task_in(file: StudyFile, section: GapSection) -> Task:
    """The task that a section of a study file asks for, its names and paths as the file means them."""
    name: str | CustomTask = section.task
    if section.task in file.study.tasks:
        custom = file.study.tasks[section.task]
        keys = {"data": file.beside(str(custom.data))}
        name = custom.model_copy(update=keys if "name" in custom.model_fields_set else {**keys, "name": section.task})
    elif section.task.endswith(".toml"):
        name = str(file.beside(section.task))
    else:
        known = [row.name for row in catalog()] + list(file.study.tasks)
        if section.task not in known:
            raise AccordError("Unknown task.", got=repr(section.task), wanted=nearest(section.task, known))
    data = None if section.data is None else file.beside(section.data)
    return task_of(section, name, data, file.study.seeds[0])


@contextmanager
def collected(
    problems: list[AccordError], file: StudyFile, path: tuple[str | int, ...], section: BaseModel
) -> Iterator[None]:
    """Add an error to the list, with its place: the key whose value it quotes, else the section."""
    try:
        yield
    except AccordError as error:
        key = _quoted_key(str(error), file, section)
        indented = str(error).replace("\n", "\n  ")
        problems.append(AccordError(f"{file.where((*path, *key))}\n  {indented}"))


def _quoted_key(message: str, file: StudyFile, section: BaseModel) -> list[str]:
    """The key whose value the message gives as `got`, or that names a file of the message; none if there is none."""
    got = next((line for line in message.splitlines() if line.startswith("  got:")), "")
    values = {key: str(value) for key, value in section if isinstance(value, str | Path) and str(value)}
    by_value = [key for key, value in values.items() if repr(value) in got or got.endswith(f"  {value}")]
    by_file = [key for key, value in values.items() if str(file.beside(value)) in message]
    return [*by_value, *by_file][:1]


def _twice(file: StudyFile) -> Iterator[AccordError]:
    seen: dict[str, int] = {}
    for index, section in enumerate(file.study.gap):
        first = seen.setdefault(section.folder.casefold(), index)
        if first != index:
            yield AccordError(
                "Two sections would write to the same folder.",
                where=file.where(("gap", index)),
                got=f"gap/{section.folder}, as [[gap]] number {first + 1}",
                fix='give one of them a name: name = "…"',
            )
