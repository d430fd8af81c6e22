"""Runs, as commands print them: fit for a terminal of any width, plain and complete where there is none."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.text import Text

from accord.amounts import in_bytes, in_time, on_clock
from accord.report.metric import plain
from accord.report.wording import count
from accord.screen import Screen
from accord.terminal import plain_table, print_listing, screen

if TYPE_CHECKING:
    from accord.cluster.forecast import Forecast
    from accord.study.preview import DryRun, Room, ToDo
    from accord.study.remove import Removal
    from accord.study.run_progress import RunProgress, StageProgress
    from accord.study.run_status import RunStatus, StageStatus

_WORKERS, _STAGES = 16, 8  # of a run on several workers, as many are named


def print_runs(runs: Sequence["RunStatus"]) -> None:
    """A line a run, and its first finding."""
    short = screen().is_terminal
    header = ("name", "model", "stages", "when", "size", "first finding")
    print_listing(header, [[*_facts(run, short), _told(run)] for run in runs], right=["size"])


def _facts(run: "RunStatus", short: bool) -> list[str | Text]:
    folder = plain(run.folder.resolve().name)
    name = folder if run.name == folder else f"{folder} ({run.name})"
    stages = f"{run.done} of {run.of}" if run.of is not None else count(run.done, "stage")
    if run.trials is not None:
        stages = count(run.trials, "trial")
    return [Text(name, "bold"), run.model or "–", stages, _when(run, short), in_bytes(run.bytes)]


def _when(run: "RunStatus", short: bool) -> str:
    progress = run.progress
    if progress is not None and progress.lives:
        at_once = f", {len(progress.making)} stages at once" if len(progress.making) > 1 else ""
        where = "" if progress.life == "running" else f" on {progress.host}"
        return f"running{where}{at_once}" + (f", {in_time(progress.left)} left" if progress.left is not None else "")
    if run.busy:
        return "busy"
    if progress is not None and progress.life == "elsewhere":
        return f"on {progress.host}"
    when = _clock(run.finished, short) or "–"
    return f"stopped {when}" if progress is not None else when


def _told(run: "RunStatus") -> Text:
    if run.problem:
        return Text(run.problem, style="red")
    return Text(run.finding or "no finding yet")


def print_status(run: "RunStatus") -> None:
    """The stages of a run, how it stands as a whole, and what to do next."""
    console = screen()
    rows = [_row(name, stages[0], run) for name, stages in _rows(run, together=console.is_terminal)]
    if rows:
        console.print(plain_table(("stage", "state", "took", "made", "size"), rows, right=["took", "size"]))
        console.print()
    done = count(run.done, "stage") if run.of is None else f"{run.done} of {count(run.of, 'stage')}"
    what = f"{done} whole" if run.trials is None else count(run.trials, "trial")
    model = f", model {run.model}" if run.model else ""
    for line in (f"{run.folder}{model}: {what}, {in_bytes(run.bytes)}", *_life(run), *_next(run)):
        console.print(line)


def _row(name: str, stage: "StageStatus", run: "RunStatus") -> list[str | Text]:
    took = "" if stage.seconds is None else in_time(stage.seconds)
    made = _clock(stage.finished, screen().is_terminal)
    return [name, _state(stage, run), took, made, in_bytes(stage.bytes) if stage.bytes else ""]


def _rows(run: "RunStatus", together: bool) -> Iterator[tuple[str, list["StageStatus"]]]:
    """The stages by their names; neighbours of a kind that are all to do are one row, if they shall be `together`."""
    making = _making(run)

    def key(stage: "StageStatus") -> str:
        return (
            _kind(stage.name) if together and stage.state == "to do" and stage.name not in making else f"/{stage.name}"
        )

    for _, group in groupby(run.stages, key):
        stages = list(group)
        alone = len(stages) == 1
        yield stages[0].name if alone else f"{_kind(stages[0].name)}, {len(stages)} stages", stages


def _making(run: "RunStatus") -> dict[str, "StageProgress"]:
    """The stages that are being made now, by their names."""
    progress = run.progress
    return {of.stage: of for of in progress.making} if progress is not None and progress.lives else {}


def _life(run: "RunStatus") -> Iterator[str]:
    progress = run.progress
    if progress is None or (progress.life == "stopped" and run.busy):
        if run.busy:
            yield "A process of accord works on it now."
        return
    at = _under_way(progress)
    if progress.life == "running":
        so_far = "" if progress.elapsed is None else f"; {in_time(progress.elapsed)} so far"
        left = "" if progress.left is None else f", about {in_time(progress.left)} left"
        yield f"Running: {at}{so_far}{left}."
    elif progress.life == "stopped":
        heard = f", last heard of {_clock(progress.updated, True)}" if progress.updated else ""
        yield f"Stopped: its process is gone. It was at {at}{heard}."
    else:
        yield from _elsewhere(progress, at)


def _under_way(progress: "RunProgress") -> str:
    """Which stages are being made: the one, or how many of them."""
    if len(progress.making) > 1:
        ended = f", {progress.ended} of {progress.of} done" if progress.of else ""
        return f"{len(progress.making)} stages at once{ended}"
    if not progress.making:
        return f"no stage ({progress.ended} of {progress.of} done)" if progress.of else "no stage"
    stage = progress.making[0]
    at = f"{stage.stage} ({progress.number} of {progress.of})" if progress.of else stage.stage
    return at + ("" if stage.share is None else f" at {stage.share:.0%}") + (f", {stage.at}" if stage.at else "")


def _elsewhere(progress: "RunProgress", at: str) -> Iterator[str]:
    silent = progress.silent
    if silent is not None and progress.lives:
        yield f"Running on {progress.host}, as it said {in_time(silent)} ago: {at}."
        return
    since = "" if silent is None else f" {in_time(silent)} ago"
    where = progress.host or "a machine that it does not name"
    yield f"Begun on {where}, and last heard of{since}: {at}. Whether it still runs can only be seen there."


def _state(stage: "StageStatus", run: "RunStatus") -> Text:
    if (now := _making(run).get(stage.name)) is not None:
        share = "" if now.share is None else f" {now.share:.0%}"
        return Text(f"being made{share}" + (f", {now.at}" if now.at else ""), "green")
    words = "no longer in the study" if stage.state == "left over" else stage.state
    return Text(words, {"whole": "", "to do": "dim", "damaged": "red"}.get(stage.state, "yellow"))


def _whole_command(run: "RunStatus") -> str:
    """The command that run was made by, for all of the study; it replaces only where something is outdated."""
    command = re.sub(r" --only[ =]\S+| --replace\b", "", run.command)
    return command + (" --replace" if any(stage.state == "outdated" for stage in run.stages) else "")


def _next(run: "RunStatus") -> Iterator[str]:
    for stage in run.stages:
        if stage.missing:
            yield f"{stage.name}: {stage.missing}"
    if run.problem:
        yield f"{run.problem} (which files: accord check {run.folder})"
    open_ones = [stage for stage in run.stages if stage.state not in ("whole", "left over")]
    running = run.busy or (run.progress is not None and run.progress.life != "stopped")
    if open_ones and not running:
        command = _whole_command(run) if run.command.startswith("accord ") else "run the study again"
        what = "To do" if run.planned else "Not whole"
        yield f"{what}: {len(open_ones)}. The same command goes on from what is there: {command}"
    if not run.planned and run.trials is None and len(run.stages) > 1:
        yield "Which stages the study has beside these is seen by: accord run STUDY.toml --dry-run"
    if run.report is None:
        yield f"No report yet; accord open {run.folder} writes it."
    else:
        old = "" if run.report_is_new else f" (made from other results than these: accord open {run.folder})"
        yield f"Report: {run.report}{old}"


def print_dry_run(dry: "DryRun", *, replace: bool = False) -> None:
    """What a run would do, a paragraph a stage, and what it takes."""
    console = screen()
    for stage in dry.stages:
        console.print(_hanging(f"{stage.name}: {stage.why}", console.width))
        if not stage.up_to_date:
            console.print(Padding(_about(stage), (0, 0, 0, 4), expand=False))
    for name in dry.left:
        console.print(_hanging(f"{name}: no longer in the study, left as it is", console.width))
    console.print()
    for line in _summary(dry, replace):
        console.print(_hanging(line, console.width))


def _hanging(line: str, width: int) -> str:
    """A line whose second and later lines stand further in."""
    if len(line) <= width:
        return line
    return "\n    ".join(str(part).rstrip() for part in Text(line).wrap(Screen(width=width - 4), width - 4))


def _roughly(seconds: float) -> str:
    return in_time(seconds) if seconds < 1 else f"about {in_time(seconds)}"


def _about(stage: "ToDo") -> str:
    takes = "unknown how long" if stage.seconds is None else f"takes {_roughly(stage.seconds)}"
    if stage.begun:
        takes += f", less what is done: goes on from {in_bytes(stage.begun)} that were interrupted"
    if (old := stage.replaces) is not None:
        took = "" if old.seconds is None else f" in {in_time(old.seconds)}"
        takes += f"; replaces {in_bytes(old.bytes)}, made {on_clock(old.made) or 'at an unknown time'}{took}"
    elif stage.bytes is not None:
        takes += f"; about {in_bytes(stage.bytes)} on the disk"
    return takes


def _summary(dry: "DryRun", replace: bool) -> Iterator[str]:
    chosen = f"these {len(dry.stages)} stages"
    chosen += "" if len(dry.stages) == dry.of else f" (the study has {dry.of})"
    if not dry.to_do:
        yield f"Nothing to do in {dry.folder}: {chosen} are up to date."
    else:
        took = [_roughly(dry.seconds)] if dry.unknown < len(dry.to_do) else []
        took += [f"{dry.unknown} of unknown length"] if dry.unknown else []
        yield f"To do in {dry.folder}: {len(dry.to_do)} of {chosen}, {' and '.join(took)}."
    for download in dry.downloads:
        size = "how large, only the hub knows"
        if download.bytes is not None:
            size = f"{in_bytes(download.bytes)} to fetch, {in_bytes(download.stored or 0)} on the disk then"
        yield f"To fetch: {plain(download.name)}, {download.what}: {size}."
    for room in dry.rooms:
        yield _room(room)
    if dry.forecast is not None:
        yield from _on_workers(dry.forecast)
    if dry.otherwise and not replace:
        yield f"{count(dry.otherwise, 'stage')} would replace results of other settings: that takes --replace."
    if dry.busy:
        yield f"A process works on {dry.folder} now: a run would be refused until it has ended."


def _on_workers(of: "Forecast") -> Iterator[str]:
    """What a run takes on several workers."""
    cards = f", {count(of.cards, 'GPU')} each" if of.cards else ""
    hours = f"; {of.card_hours:.2g} GPU hours" if of.cards else ""
    yield f"On Ray: {count(of.workers, 'worker')}{cards}, {_roughly(of.seconds)} in all{hours}."
    yield f"At least {_roughly(of.longest_seconds)} whatever the workers: {' → '.join(map(plain, of.longest))}."
    for model in of.models:
        size = f"{in_bytes(model.memory)} of memory at once" if model.memory else "an unknown amount of memory"
        name = f"Model {plain(model.model)}" if model.model else "A repaired model each"
        yield f"{name}: {count(model.stages, 'stage')}, {size} a worker."
    for worker, stages in [*of.timeline.items()][:_WORKERS]:
        rest = f" and {len(stages) - _STAGES} more" if len(stages) > _STAGES else ""
        yield f"{worker}: {', '.join(map(plain, stages[:_STAGES]))}{rest}"


def _room(room: "Room") -> str:
    needed = f"{'at least ' if room.at_least and room.needed else ''}{in_bytes(room.needed)}"
    if room.at_least and not room.needed:
        needed = "an unknown size"
    short = "" if room.needed <= room.free else ": TOO LITTLE"
    return f"Disk: {needed} needed, {in_bytes(room.free)} free at {room.place}{short}."


def print_removal(removal: "Removal") -> None:
    """What would go, and what stays behind."""
    console = screen()
    what = f"{removal.folder}: "
    if removal.stage is None:
        what += f"{count(removal.stages, 'stage')} and all else in it, "
    made = "" if removal.finished is None else f", made {on_clock(removal.finished)}"
    took = f" in {in_time(removal.seconds)}" if removal.seconds is not None and removal.finished is not None else ""
    console.print(f"{what}{in_bytes(removal.bytes)}{made}{took}")
    if removal.changed:
        console.print(f"Changed since accord wrote it: {plain(', '.join(removal.changed))}")
    if removal.made_from_it:
        kinds = [f"{kind} ({len(list(names))})" for kind, names in groupby(removal.made_from_it, _kind)]
        which = ", ".join(removal.made_from_it if len(removal.made_from_it) < 6 else kinds)
        console.print(f"Made from it: {which}. They stay, and stay up to date.")
    if removal.stage is not None:
        report = " The report goes, too; accord open writes it anew." if (removal.run / "report.html").is_file() else ""
        console.print(f"The next accord run makes it again, if the study still asks for it.{report}")


def _kind(name: str) -> str:
    return name.partition("/")[0]


def _clock(at: datetime | None, short: bool) -> str:
    """A moment to the minute; in a terminal the time of today, and else the day."""
    if at is None or not short:
        return on_clock(at)
    here = at.astimezone()
    return f"{here:%H:%M}" if here.date() == datetime.now().date() else f"{here:%Y-%m-%d}"
