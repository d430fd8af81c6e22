"""`[machines]`: which engine makes a study's stages, and on what. No part of any recipe."""

from typing import Literal

from pydantic import Field

from accord.section import Section


class MachinesSection(Section):
    """What the stages are made on. It changes no result: with another one, nothing is made again."""

    engine: Literal["serial", "ray"] = Field(
        default="serial",
        description="serial: one stage after another, in the process of accord run; ray: several at once, by workers "
        "on this machine or on a Ray cluster (pip install 'accord[ray]').",
        examples=["ray"],
    )
    address: str = Field(
        default="",
        max_length=300,
        description='Of a Ray cluster that runs already: HOST:PORT, or "auto" for the one that this machine belongs '
        "to. Empty: Ray is started on this machine, with all its cards, and ends with the run.",
    )
    workers: int | None = Field(
        default=None, ge=1, le=10_000, description="How many workers at most; by default as many as there is room for."
    )
    gpus_per_model: int = Field(
        default=1, ge=1, le=64, description="GPUs that each worker has, where there are any; all of one machine."
    )
    cpus_per_stage: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="CPUs that each worker has. As many threads compute a stage: on CPUs its results are, to the byte, "
        "those of a serial run with OMP_NUM_THREADS at this number.",
    )
    ranks: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="How many workers train a concept model or a head together: faster, and equal to what one "
        "trains but for the rounding of sums.",
    )
