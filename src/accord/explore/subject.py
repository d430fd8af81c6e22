"""What is walked around in: a model alone, or a run with its gaps, concepts and repairs; each opened when needed.

Whatever loads or computes is called in the thread of the models (see `accord.explore.worker`), so nothing here is
locked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.errors import AccordError
from accord.gap.config import GapSection
from accord.gap.in_run import MeasuredGap, gaps_of
from accord.gap.result import Gap
from accord.lm.config import BackboneSection
from accord.names.result import NamedDictionary
from accord.repair.result import RepairRecord
from accord.report.metric import called
from accord.study.config import StudyFile
from accord.study.rerun import kept_study
from accord.study.run_folder import Run, read
from accord.study.store import STUDY
from accord.tasks.config import QuestionSection

if TYPE_CHECKING:
    from accord.lm.model import LanguageModel
    from accord.progress import Progress
    from accord.steering.target import Target
    from accord.steering.typical import Typical
    from accord.tasks import Task

BASE = "base"
BACKBONE = "backbone"


@dataclass
class Subject:
    """A model, and what there is of it.

    Attributes:
        backbone: the model under study.
        questions: name of a gap -> the section that asks it.
        run: the run folder, or None for a model alone.
        seed: of splits.
        limit: items that are measured of a question of no run.
        opened: called with each language model once it is loaded.
        task_of: makes the task of a section.
        given_of: what `accord.task` takes to make it anywhere: a name, file or table, and data, where those are named.
    """

    backbone: BackboneSection
    questions: Mapping[str, QuestionSection] = field(default_factory=dict)
    run: Run | None = None
    seed: int = 0
    limit: int = 200
    opened: "Callable[[LanguageModel], None]" = lambda lm: None
    task_of: "Callable[[QuestionSection], Task] | None" = None
    given_of: Callable[[QuestionSection], tuple[str | dict[str, Any], str | None]] = lambda section: (
        section.task,
        section.data,
    )
    _kept: dict[tuple[str, str], Any] = field(default_factory=dict)

    @classmethod
    def of_run(cls, folder: Path, *, model: str | None = None, device: str | None = None) -> "Subject":
        """A run folder, or the folder of a single stage of a model.

        Args:
            model: the run's model, where its path is another one now.
            device: in place of the study's.

        Raises AccordError if it holds no results, or does not say of which model.
        """
        run = read(folder)
        file = kept_study(run) if (folder / STUDY).is_file() else None
        if file is None:
            known = (called(manifest.get("settings", {}).get("model")) for manifest in run.manifests.values())
            model = model or next(filter(None, known), None)
            if model is None:
                problem = "Nothing in this folder says which model it is about."
                raise AccordError(problem, where=folder, fix="name the model: --model MODEL")
            return cls(BackboneSection(model=model, device=device or "auto"), run=run)
        from accord.study.plan import Plan

        plan = Plan(file)
        changed = {key: value for key, value in (("model", model), ("device", device)) if value is not None}
        backbone = plan.backbone.model_copy(update=changed)
        sections = {section.folder: section for section in plan.all(GapSection) if section.model == BACKBONE}
        given_of = partial(_given, file)
        return cls(backbone, sections, run, file.study.seeds[0], task_of=plan.task, given_of=given_of)

    @property
    def model_name(self) -> str:
        """The name of the model under study."""
        return called(Path(self.backbone.model).name)

    @property
    def name(self) -> str:
        """What is explored, in a few words."""
        return self.model_name if self.run is None else f"{self.run.name}, {self.model_name}"

    @property
    def folder(self) -> str:
        """The run folder, as a command would name it; empty for a model alone."""
        return "" if self.run is None else str(self.run.folder)

    # Models

    @cached_property
    def repairs(self) -> list[str]:
        """Labels of the repaired models of the run."""
        return self._labels("repair")

    @property
    def models(self) -> list[str]:
        """The model under study and its repairs: what `model` takes."""
        return [BASE, *self.repairs]

    def place(self, name: str) -> str:
        """What `accord.load` takes for a model of `models`."""
        return self.backbone.model if name == BASE or self.run is None else str(self.run.place(f"repair/{name}"))

    def model(self, name: str = BASE) -> "LanguageModel":
        """A model of `models`, loaded when it is first asked for."""

        def load() -> "LanguageModel":
            from accord.study.work import load as load_model

            lm = load_model(self.backbone.model_copy(update={"model": self.place(name)}))
            self.opened(lm)
            return lm

        return self._once("model", name, load)  # type: ignore[no-any-return]

    def is_loaded(self, name: str = BASE) -> bool:
        """Whether a model is in memory already."""
        return ("model", name) in self._kept

    # Questions and their items

    @property
    def tasks(self) -> list[str]:
        """Names of the questions that can be asked, as templates with places for words."""
        return list(self.questions)

    def task(self, name: str) -> "Task":
        """The items and templates of a question; what counts of an answer is settled over all of its items.

        Raises AccordError if its data are not where the study says.
        """

        def make() -> "Task":
            from accord.explore.asking import settled
            from accord.tasks import task as make_task
            from accord.tasks.as_read import read_by

            section = self.questions[name]
            if self.task_of is not None:
                made = self.task_of(section)
            else:
                keys = {"limit": self.limit, **section.asked}
                made = make_task(section.task, data=section.data, seed=self.seed, **keys)
            lm = self.model()
            return settled(lm, read_by(lm.tokenizer, made))

        return self._once("task", name, make)  # type: ignore[no-any-return]

    @cached_property
    def gaps(self) -> dict[str, MeasuredGap]:
        """The measured gaps of the run's backbone, by name."""
        if self.run is None:
            return {}
        made = {of.label: of for of in gaps_of(self.run)}
        return {name: of for name, of in made.items() if name in self.questions or not self.questions}

    @property
    def asked(self) -> list[str]:
        """Names of what the items' room shows: measured gaps, and questions that can be measured."""
        return list(dict.fromkeys([*self.gaps, *self.questions]))

    def gap(self, name: str) -> Gap | None:
        """A gap of the run, or one measured here; None where it was not measured yet."""
        if name in self.gaps:
            return self.gaps[name].gap
        found: Gap | None = self._kept.get(("gap", name))
        return found

    def measure(self, name: str, progress: "Progress | None" = None) -> Gap:
        """Measure a question's items on the model under study."""

        def make() -> Gap:
            from accord.gap import measure_gap

            return measure_gap(self.model(), self.task(name), progress=progress)

        return self._once("gap", name, make)  # type: ignore[no-any-return]

    def item(self, name: str, number: int) -> "Task":
        """One item of a question, by its row in the score table, as a task of its own.

        Raises AccordError if the questions that the study asks now are not those of the table.
        """
        from dataclasses import replace

        task, gap = self.task(name) if name in self.questions else None, self.gap(name)
        row = None if gap is None else gap.scores.iloc[number]
        item = task.items[number] if task is not None and number < len(task.items) else None
        asked = None if task is None or item is None else task.prompts(item)
        if (
            task is None
            or item is None
            or (row is not None and asked != (row["generator_prompt"], row["validator_prompt"]))
        ):
            problem = "The questions of this run cannot be made again as they were: this item cannot be asked."
            raise AccordError(problem, where=name, fix="run the study again with these data")
        return replace(task, items=(item,))

    # Concepts

    @cached_property
    def concept_models(self) -> list[str]:
        """Labels of the concept models of the run, those that can be steered."""
        return self._labels("concepts")

    @cached_property
    def dictionaries(self) -> dict[str, NamedDictionary]:
        """Label of a concept model -> what is known of its concepts, where the run named them."""
        return {} if self.run is None else self.run.of(NamedDictionary)

    def layer(self, label: str) -> int:
        """The layer that a concept model was made on."""
        assert self.run is not None
        return int(self.run[f"concepts/{label}"].metrics["layer"])

    def target(self, label: str) -> "Target":
        """The model under study with a concept model of the run spliced in."""

        def make() -> "Target":
            from accord.concepts import load
            from accord.steering.target import Target

            assert self.run is not None
            lm = self.model()
            return Target.of(lm, load(self.run.place(f"concepts/{label}"), lm.device), self.layer(label))

        return self._once("target", label, make)  # type: ignore[no-any-return]

    def typical(self, label: str) -> "Typical":
        """How strong the concepts usually are, measured on the run's training embeddings when first asked for."""

        def make() -> "Typical":
            from accord.steering.open import train_store, typical_of

            assert self.run is not None
            return typical_of(train_store(self.run.folder), self.target(label))

        return self._once("typical", label, make)  # type: ignore[no-any-return]

    def is_measured(self, label: str) -> bool:
        """Whether it is known how strong these concepts usually are."""
        return ("typical", label) in self._kept

    def concept_names(self, label: str) -> dict[int, str]:
        """Concept -> its name, or else the tokens that it promotes most."""
        if label not in self.dictionaries:
            return {}
        table = self.dictionaries[label].concepts
        return {int(row["concept"]): concept_name(row) for row in table.to_dict("records")}

    # Repairs

    def record(self, label: str) -> RepairRecord:
        """How a repair was made."""
        assert self.run is not None
        record: RepairRecord = self.run[f"repair/{label}"]
        return record

    def _labels(self, kind: str) -> list[str]:
        names = () if self.run is None else self.run.manifests.items()
        return [name.partition("/")[2] for name, manifest in names if manifest["stage"] == kind]

    def _once(self, kind: str, name: str, make: Callable[[], Any]) -> Any:
        """What is made once and kept."""
        if (kind, name) not in self._kept:
            self._kept[kind, name] = make()
        return self._kept[kind, name]


def _given(file: StudyFile, section: QuestionSection) -> tuple[str | dict[str, Any], str | None]:
    task: str | dict[str, Any] = section.task
    if section.task in file.study.tasks:
        table = file.study.tasks[section.task].model_dump(mode="json", exclude_defaults=True)
        task = {"name": section.task, **table, "data": str(file.beside(str(table["data"])).absolute())}
    elif section.task.endswith(".toml"):
        task = str(file.beside(section.task).absolute())
    return task, None if section.data is None else str(file.beside(section.data).absolute())


def concept_name(row: Mapping[Any, Any]) -> str:
    """What a concept of a dictionary is called: its name, else the tokens that it makes most likely."""
    name = row.get("name")
    if isinstance(name, str) and name.strip():
        return name
    tokens = [str(entry["token"]).strip() for entry in list(row.get("promoted", ()))[:3]]
    return ", ".join(filter(None, tokens)) or f"concept {row['concept']}"
