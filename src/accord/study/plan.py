"""Which stages a checked study has, in the order they run."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from accord.concepts.config import ConceptSection, ImportedSection, TrainedSection
from accord.errors import AccordError, nearest
from accord.explain.config import ExplainSection
from accord.section import Layer
from accord.study.concept_stages import concept_stage, embeddings_stage
from accord.study.config import StudyFile
from accord.study.explain_stages import explain_stage
from accord.study.gap_stages import row_gap_stage
from accord.study.head_stages import head_stage
from accord.study.imported_stages import imported_of, imported_stage
from accord.study.name_stages import Named, names_stage
from accord.study.repair_plan import RepairPlan
from accord.study.root import Study
from accord.study.rows import BACKBONE, RANDOM, Row, all_rows, asked, layers_of
from accord.study.stage import Run, Stage
from accord.study.steering_stages import steering_stage
from accord.study.text_stages import perplexity_stage, texts_stage
from accord.study.validate_concepts import check_imported, judge_of, layer_count, names_of, text_of
from accord.tasks import Task


class ConceptPlan:
    """The stages of a study from its texts to the judged perplexity: concepts crossed with layers, heads and seeds."""

    def __init__(self, file: StudyFile, run: Run) -> None:
        self.file, self.study, self.run = file, file.study, run

    def stages(self) -> Iterator[Stage]:
        """In the order they run; each is named once, whatever asks for it."""
        if self.study.text is None:
            return
        yield self.embeddings
        yield from self._concepts.values()
        yield from self._names()
        yield from self._steering()
        yield from self._heads.values()
        texts = list(self._texts())
        yield from (stage for stage, _, _ in texts)
        section = self.study.perplexity
        if section is not None:
            judge = judge_of(self.file, section.judge)
            weights = self.run.loader(judge)
            for stage, row, model in texts:
                yield perplexity_stage(self.run, section, (judge, weights), stage, model, row)

    @cached_property
    def embeddings(self) -> Stage:
        """The one stage of embeddings, with every layer that is asked for."""
        layers = [*self.study.backbone.layer, *(one for c in self.study.concepts for one in layers_of(self.study, c))]
        layers += [row.layer for row in all_rows(self.study)]
        numbers = sorted({self._number(layer) for layer in layers})
        return embeddings_stage(self.run, text_of(self.file), numbers, self.study.seeds[0])

    def model(self, label: str) -> Stage:
        """The stage that makes a row's model, of the first seed."""
        row = next(row for row in all_rows(self.study) if label in (row.label, row.name))
        return self._head(row, self.study.seeds[0])

    @cached_property
    def _concepts(self) -> dict[tuple[str, Layer, int], Stage]:
        return {
            (section.title, layer, seed): self._concept(section, (layer, self._number(layer)), seed)
            for seed in self.study.seeds
            for section in self.study.concepts
            for layer in layers_of(self.study, section)
        }

    def _concept(self, section: ConceptSection, place: tuple[Layer, int], seed: int) -> Stage:
        if isinstance(section, ImportedSection):
            check_imported(self.file, section, fetch=True)
            return imported_stage(self.run, imported_of(self.file, section), place, seed, self.embeddings)
        assert isinstance(section, TrainedSection)
        return concept_stage(self.run, section, place, seed, self.embeddings)

    def _names(self) -> Iterator[Stage]:
        """Dictionaries of the concept models of the first seed."""
        if self.study.names is None:
            return
        section = names_of(self.file)
        for title, number, stage in self._first_seed():
            if section.concepts in ("all", title):
                inputs = (self.embeddings.recipe.fingerprint, stage.recipe.fingerprint)
                yield names_stage(self.run, section, Named(stage.name, number, self.study.seeds[0], inputs))

    def _steering(self) -> Iterator[Stage]:
        """Concepts turned off and up, those of the first seed."""
        section = self.study.steering
        if section is None:
            return
        judge = None
        if section.judge is not None:
            model = judge_of(self.file, section.judge)
            judge = (model, self.run.loader(model))
        for title, number, stage in self._first_seed():
            if section.concepts == "all" or title in section.concepts:
                about = (title, number, self.study.seeds[0])
                yield steering_stage(self.run, section, about, self.embeddings, stage, judge)

    def explanations(self, tasks: list[Task]) -> Iterator[Stage]:
        """The backbone's gap told by the concepts of the first seed; `tasks` are those of the [[gap]] sections."""
        section = self.study.explain
        if section is None:
            return
        task = explained(self.file, section, tasks)
        for _, number, stage in self._first_seed():
            inputs = [stage.recipe.fingerprint]
            yield explain_stage(self.run, section, task, stage.name, number, self.study.seeds[0], inputs)

    def concepts_named(self, title: str) -> tuple[Stage, int]:
        """The concept model of a name, on its first layer, as the first seed made it; and the layer's number."""
        return next((stage, number) for name, number, stage in self._first_seed() if name == title)

    def _first_seed(self) -> Iterator[tuple[str, int, Stage]]:
        """Name, layer's number and stage of every concept model of the first seed."""
        for (title, layer, seed), stage in self._concepts.items():
            if seed == self.study.seeds[0]:
                yield title, self._number(layer), stage

    @cached_property
    def _heads(self) -> dict[tuple[str, int | None], Stage]:
        found = {}
        for seed in self.study.seeds:
            for row in all_rows(self.study):
                own = None if row.is_backbone else seed
                concepts = self._concepts[row.concepts.title, row.layer, seed] if row.concepts else None
                stage = head_stage(self.run, row, self._number(row.layer), own, self.embeddings, concepts)
                found[row.label, own] = stage
        return found

    def _head(self, row: Row, seed: int) -> Stage:
        return self._heads[row.label, None if row.is_backbone else seed]

    def _texts(self) -> Iterator[tuple[Stage, str, Stage | None]]:
        """Stage of texts, row, and the stage that makes the row's model."""
        section = self.study.perplexity
        if section is None:
            return
        for seed in self.study.seeds:
            for row in all_rows(self.study):
                if asked(self.study, row):
                    model = self._head(row, seed)
                    yield texts_stage(self.run, section, row.label, row.name, seed, model), row.name, model
            if section.rows == "all" or RANDOM in section.rows:
                yield texts_stage(self.run, section, RANDOM, RANDOM, seed, None), RANDOM, None

    def _number(self, layer: Layer) -> int:
        if layer == "last":
            return self._depth
        if layer > self._depth:
            raise AccordError("No such layer.", got=layer, wanted=f"0 to {self._depth} in {self.run.backbone.model}")
        return layer

    @cached_property
    def _depth(self) -> int:
        return layer_count(self.run.backbone, fetch=True)


def stages_of(file: StudyFile, run: Run, tasks: list[Task]) -> list[Stage]:
    """All stages of a study but the backbone's gaps: texts to perplexity, the gaps of what that makes, repairs.

    Args:
        tasks: those of the [[gap]] sections.
    """
    study: Study = file.study
    plan = ConceptPlan(file, run)
    gaps = [
        row_gap_stage(section, task, run, plan.model(section.model), study.seeds[0])
        for section, task in zip(study.gap, tasks, strict=True)
        if section.model != BACKBONE
    ]
    repairs = RepairPlan(file, run, plan.concepts_named)
    return [*plan.stages(), *gaps, *plan.explanations(tasks), *repairs.stages()]


def explained(file: StudyFile, section: ExplainSection, tasks: list[Task]) -> Task:
    """The questions that [explain] tells by concepts. Raises AccordError if no [[gap]] of the backbone asks them."""
    known = {gap.folder: task for gap, task in zip(file.study.gap, tasks, strict=True) if gap.model == BACKBONE}
    if not known or (section.gap is not None and section.gap not in known):
        wanted = nearest(section.gap or "", known) or "a [[gap]] section of the backbone"
        raise AccordError("No such gap to explain.", got=section.gap or "none at all", wanted=wanted)
    task = known[section.gap] if section.gap is not None else next(iter(known.values()))
    task.labels.check_yes_or_no("an explanation by concepts", task.name)
    return replace(task, items=task.items[: section.limit], settings={**task.settings, "explained": section.limit})
