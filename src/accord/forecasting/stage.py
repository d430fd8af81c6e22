"""Stages that forecast, from a repair's training items and before it is made, whether it will help."""

from collections.abc import Iterator

from accord.errors import AccordError
from accord.forecasting.config import ForecastSection
from accord.forecasting.logged_runs import logged
from accord.forecasting.result import RepairForecast
from accord.forecasting.training import check_task
from accord.lm.config import BackboneSection
from accord.study.plan import Named, Plan, identity, read_by_model
from accord.study.stage import Stage
from accord.study.work import Work
from accord.tasks import Task

VERSION = 3  # raise it when the same settings give other files or numbers


def stages(plan: Plan) -> Iterator[Stage]:
    """One for each section."""
    folders: dict[str, int] = {}
    for i, section in enumerate(plan.all(ForecastSection)):
        first = folders.setdefault(section.folder.casefold(), i)
        if first != i:
            got, fix = f"forecast/{section.folder}, as [[forecast]] number {first + 1}", 'name one of them: name = "…"'
            plan.problem(AccordError("Two sections would write to the same folder.", got=got, fix=fix), "forecast", i)
            continue
        with plan.at("forecast", i, section=section):
            kind = plan.task(section, split="all").usual_split_kind
            task = plan.task(section, split="train", split_kind=kind, limit=section.limit)
            check_task(task, negated=section.negated)
            yield forecast_stage(section, plan.read(task), plan.named(plan.backbone), plan.seed)


def forecast_stage(section: ForecastSection, task: Task, base: Named, seed: int) -> Stage:
    """Forecast from a task's training items whether repairs of a model will help."""

    def make(work: Work) -> RepairForecast:
        from accord.forecasting import forecast

        lm = base.load(work)
        work.progress(0, 2 * len(task.items))
        return forecast(lm, task, negated=section.negated, seed=seed, parts=work.parts, progress=work.progress)

    # What was logged since makes other predictions.
    runs = logged()[["repair", "model", "task", "readout_r", "closure"]].to_dict("records")
    settings = {**base.identity, "task": task.settings, "negated": section.negated, "runs": runs}
    return Stage("forecast", section.folder, make, settings, seed, VERSION, seconds=60)


def single_stage(section: ForecastSection, task: Task, backbone: BackboneSection, seed: int) -> Stage:
    """The same of a model by name or folder, outside any study."""
    return forecast_stage(section, read_by_model(task, backbone), Named(backbone, identity(backbone)), seed)
