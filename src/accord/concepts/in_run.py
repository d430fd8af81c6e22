"""The concept models of a run folder by itself: what `accord names RUN` and `accord explain RUN` begin with."""

from dataclasses import dataclass
from pathlib import Path

from accord.errors import AccordError, nearest
from accord.lm.config import BackboneSection
from accord.study import config
from accord.study.plan import Named, identity
from accord.study.stage import Stage
from accord.study.store import MANIFEST, STUDY, stage_in

EMBEDDINGS = "embeddings"


@dataclass(frozen=True)
class RunOfConcepts:
    """A run folder with embeddings, as they were made.

    Attributes:
        backbone: the model of its study.
        seed: the first of its study.
    """

    folder: Path
    backbone: Named
    embeddings: Stage
    seed: int

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

    Raises AccordError if it is no run folder, holds no embeddings, or these were made with another model.
    """
    from accord.loading import check_model

    if not (folder / EMBEDDINGS / MANIFEST).is_file() or not (folder / STUDY).is_file():
        raise AccordError("There are no embeddings in this folder.", where=folder, wanted="a run folder of accord run")
    embeddings, study = stage_in(folder, EMBEDDINGS), config.load(folder / STUDY).study
    model: BackboneSection = study.backbone.model_copy(update={"model": backbone or study.backbone.model})
    check_model(model.model)
    named = Named(model, identity(model))
    if named.identity["weights"] != embeddings.settings["weights"]:
        fix = "name the model that was: --backbone MODEL"
        raise AccordError("The embeddings were made with another model.", where=folder, got=model.model, fix=fix)
    return RunOfConcepts(folder, named, embeddings, study.seeds[0])
