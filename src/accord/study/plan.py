"""Which stages a checked study has, in the order they run."""

from collections.abc import Iterator
from functools import cached_property

from accord.errors import AccordError
from accord.study.concept_stages import concept_stage, embeddings_stage
from accord.study.config import StudyFile
from accord.study.gap_stages import row_gap_stage
from accord.study.head_stages import head_stage
from accord.study.name_stages import Named, names_stage
from accord.study.root import Study
from accord.study.rows import BACKBONE, RANDOM, Row, all_rows, asked, layers_of
from accord.study.sections import Layer
from accord.study.stage import Run, Stage
from accord.study.text_stages import perplexity_stage, texts_stage
from accord.study.validate_concepts import judge_of, layer_count, names_of, text_of
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
        yield from self._heads.values()
        texts = list(self._texts())
        yield from (stage for stage, _, _ in texts)
        section = self.study.perplexity
        if section is not None:
            judge = judge_of(self.file, section)
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
            (section.title, layer, seed): concept_stage(
                self.run, section, (layer, self._number(layer)), seed, self.embeddings
            )
            for seed in self.study.seeds
            for section in self.study.concepts
            for layer in layers_of(self.study, section)
        }

    def _names(self) -> Iterator[Stage]:
        """Dictionaries of the concept models of the first seed."""
        if self.study.names is None:
            return
        section, first = names_of(self.file), self.study.seeds[0]
        for (title, layer, seed), stage in self._concepts.items():
            if seed == first and section.concepts in ("all", title):
                inputs = (self.embeddings.recipe.fingerprint, stage.recipe.fingerprint)
                named = Named(stage.name, self._number(layer), seed, inputs)
                yield names_stage(self.run, section, named)

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


def concept_stages(file: StudyFile, run: Run, tasks: list[Task]) -> list[Stage]:
    """The stages from texts to perplexity, and the gaps of the models that they make."""
    study: Study = file.study
    plan = ConceptPlan(file, run)
    gaps = [
        row_gap_stage(section, task, run, plan.model(section.model), study.seeds[0])
        for section, task in zip(study.gap, tasks, strict=True)
        if section.model != BACKBONE
    ]
    return [*plan.stages(), *gaps]
