"""The concept models of a run folder by itself: what `accord names RUN` and `accord explain RUN` begin with."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from accord.errors import AccordError, nearest
from accord.lm.config import BackboneSection
from accord.study import config
from accord.study.config import StudyFile
from accord.study.manifest import MANIFEST
from accord.study.plan import Named, identity
from accord.study.stage import Stage
from accord.study.store import STUDY, stage_in

EMBEDDINGS = "embeddings"


@dataclass(frozen=True)
class RunOfConcepts:
    """A run folder with embeddings, as they were made.

    Attributes:
        file: the study that made it, as the run folder keeps it: not beside the data that it names.
        embeddings: their stage.
        model: the study's model; None for the name that the study has.
    """

    folder: Path
    file: StudyFile
    embeddings: Stage
    model: str | None = None

    @property
    def seed(self) -> int:
        """The first of the study."""
        return self.file.study.seeds[0]

    @cached_property
    def backbone(self) -> Named:
        """The model of the study. Raises AccordError if there is none of its name, or it made no such embeddings."""
        from accord.loading import check_model

        own = self.file.study.backbone
        section: BackboneSection = own.model_copy(update={"model": self.model or own.model})
        check_model(section.model)
        named = Named(section, identity(section))
        if named.identity["weights"] != self.embeddings.settings["weights"]:
            fix = "name the model that was: --backbone MODEL"
            problem = "The embeddings were made with another model."
            raise AccordError(problem, where=self.folder, got=section.model, fix=fix)
        return named

    def concepts(self, name: str) -> list[Stage]:
        """The stages of concept models in it: "all" of the first seed, those of a name, or that of a folder's name.

        Raises AccordError if there is none.
        """
        places = sorted((self.folder / "concepts").glob(f"[!.]*/{MANIFEST}"))
        stages = {place.parent.name: stage_in(self.folder, f"concepts/{place.parent.name}") for place in places}
        chosen = [
            stage
            for label, stage in stages.items()
            if name == label or (stage.seed == self.seed and name in ("all", stage.settings["name"]))
        ]
        if not chosen:
            wanted = nearest(name, stages)
            raise AccordError("No such concept model.", where=self.folder, got=repr(name), wanted=wanted)
        return chosen


def open_run(folder: Path, backbone: str | None = None) -> RunOfConcepts:
    """Open a run folder on its own, without planning its study.

    Args:
        backbone: the study's model, where it lies in another place now.

    Raises AccordError if it is no run folder, or holds no embeddings.
    """
    if not (folder / EMBEDDINGS / MANIFEST).is_file() or not (folder / STUDY).is_file():
        raise AccordError("There are no embeddings in this folder.", where=folder, wanted="a run folder of accord run")
    return RunOfConcepts(folder, config.load(folder / STUDY), stage_in(folder, EMBEDDINGS), backbone)
