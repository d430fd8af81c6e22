"""Stage folders: published whole or not at all, resumed after a kill, replaced without losing what is the user's.

A stage is built in `.NAME.partial` beside its folder and renamed to `NAME` when everything in it, the
manifest last, is on disk. Whatever stops it (Ctrl-C, kill -9, a full disk, a bug) leaves the earlier whole
folder, or none, and a partial that the next `publish` with the same recipe goes on from.
"""

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from accord import spread
from accord.disk import DiskFull, aside, disk_use, lock, ran_out, sha256, sync, write_whole
from accord.errors import AccordError
from accord.progress import Progress
from accord.screen import tell
from accord.sealed import sealed_json
from accord.study import provenance
from accord.study.manifest import (
    MANIFEST,
    UNFINISHED,
    checked_manifest,
    fault,
    is_stage,
    open_manifest,
    read_manifest,
)
from accord.study.replaced import MadeOtherwise, not_replaced
from accord.study.run_list import list_stage, listed_as
from accord.study.session import Session
from accord.study.stage import Recipe, Stage
from accord.study.work import Input, Models, TrainingOver, Work
from accord.unfinished import RECORD, check_finished, discard, passes_check, with_check, without_check

if TYPE_CHECKING:
    from accord.ranks import Ranks

STUDY = "study.toml"  # in the run folder: the text of the study that made it
REPORT, EXPORT = "report.html", "export"  # made anew from the results whenever asked for, so no part of them
LISTING = "export.json"  # among what is exported: which files those are, with their hashes
State = Literal["missing", "whole", "unfinished", "other", "damaged", "foreign"]


def state(folder: Path, recipe: Recipe) -> State:
    """Compare what `folder` holds with `recipe`, by its manifest and its files' hashes.

    missing: not there, or empty; whole: this recipe's results; unfinished: these, but for a part that could not be
    had and that the next `publish` tries again; other: another recipe's; damaged: this recipe's, but files are gone or
    changed, or a stage's whose manifest is; foreign: not a stage folder.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return "missing"
    manifest = read_manifest(folder)
    if manifest is None:
        return "damaged" if is_stage(folder) else "foreign"
    if manifest["fingerprint"] != recipe.fingerprint:
        return "other"
    if fault(folder, manifest) is not None:
        return "damaged"
    return "unfinished" if UNFINISHED in manifest.get("facts", {}) else "whole"


def publish(
    stage: Stage,
    folder: Path,
    *,
    models: Models,
    at: Callable[[Input], Path] | None = None,
    progress: Progress | None = None,
    replace: bool = False,
    keep: str | None = "name another folder",
    wait: bool = False,
    say: Callable[[str], None] | None = None,
    ranks: "Ranks | None" = None,
    worker: str = "",
) -> bool:
    """Make `folder` hold a stage's results; False if it already does.

    The stage is made in a folder beside it, which holds what an earlier, interrupted call with the same recipe left
    there. Where the stage says `UNFINISHED` among its facts, the next call goes on from a copy of what it wrote; where
    files of its results are gone or changed, they are made again. What somebody else put into the folder is moved
    aside, beside it. Where the folder is in a run that has a list of its stages, the stage is listed.

    Args:
        at: input -> its folder; not needed for a stage without inputs.
        replace: replace whole results of another recipe, once the new ones are whole.
        keep: for the error without `replace`: how to have both, see `accord.study.replaced.not_replaced`.
        say: told where what is moved aside goes; it is printed on stderr by default.
        ranks: that make the stage together, of which this is rank 0; the others call `train_along`.
        worker: who makes it, for the manifest: "worker 2".

    Raises AccordError if `folder` holds something that accord did not write, or, without `replace`, whole results of
    another recipe; if an input is damaged; and if the folder is in use by another process (without `wait`). What the
    making raises passes through; its work is kept for the next call.
    """
    named, folder, recipe = folder, folder.resolve(), stage.recipe
    say = say or on_stderr
    _check_place(folder)
    with _heard(stage, ranks), lock(folder, wait=wait):
        _recover(folder, stage.name, say)
        before = state(folder, recipe)
        if before == "foreign":
            raise foreign(named)
        if before == "other" and not replace:
            raise not_replaced(made_otherwise(stage, folder), named, keep)
        partial = aside(folder, "partial")
        if before in ("whole", "other", "unfinished") and (before == "whole" or not _is_made(partial, recipe)):
            _relist(named, stage.name)
        if before == "whole":
            if partial.exists():
                spread.remove(partial)  # of settings that are no longer asked for
            _tell(ranks, False)
            return False
        if before == "unfinished":
            _go_on(folder, partial, recipe)
        makes = not _is_made(partial, recipe)
        _tell(ranks, makes)
        if makes:
            for source in stage.inputs.values():
                checked_manifest((at or _nowhere)(source))
            work = Work(partial, at or _nowhere, models, progress or _unseen, ranks=ranks)
            try:
                _make(stage, work, worker)
            except Exception as error:
                if ran_out(error, folder.parent) and not isinstance(error, AccordError):
                    raise _no_room(error, stage, folder) from error
                raise
        # Listed first: whatever stops this between the two, the next call puts in place what is listed.
        list_stage(named, stage.name, sha256(partial / MANIFEST))
        _swap_in(folder, partial)
        clear_old(folder, stage.name, say)
        return True


def help_make(
    stage: Stage,
    folder: Path,
    *,
    models: Models,
    at: Callable[[Input], Path] | None = None,
    progress: Progress | None = None,
    worker: str = "",
) -> bool:
    """Compute parts of a stage that another worker publishes into `folder`; whether there were any to compute.

    It waits for nobody, and leaves as soon as others are at all parts that are left. Nothing is done where the stage
    cannot be shared, where nobody has begun it with this recipe, or where this worker would make it in another
    precision, or on a device, card or processor of another kind. What the making raises passes through, unless the
    stage was finished meanwhile.

    Args:
        at, progress: see `publish`.
        worker: who helps, for the manifest.
    """
    folder = folder.resolve()
    partial = aside(folder, "partial")
    word = spread.word_of(partial) if stage.spreads else None
    record = _recorded(partial) or {}  # after the word: this is what the folder was opened for
    if word is None or record.get("fingerprint") != stage.recipe.fingerprint:
        return False
    from accord import on_cpu

    work = Work(partial, at or _nowhere, models, progress or _unseen, helping=True)
    with spread.helping(partial, word, {"worker": worker, "host": platform.node()}) as hands:
        try:
            with on_cpu.quick():
                stage.make(work)
        except spread.NothingFree:
            pass
        except Exception:
            if spread.word_of(partial) == word:
                raise
    return hands.parts > 0


def train_along(
    stage: Stage, folder: Path, *, models: Models, at: Callable[[Input], Path] | None = None, ranks: "Ranks"
) -> bool:
    """Train a stage with rank 0, which publishes it in `folder`; False if there is nothing to train.

    Nothing is written into any folder. Arguments are those of `publish`; what the making raises passes through, and
    rank 0 is told.
    """
    from accord import on_cpu

    with _heard(stage, ranks), on_cpu.quick():
        if not ranks.told():
            return False
        with suppress(TrainingOver):
            stage.make(Work(aside(folder.resolve(), "partial"), at or _nowhere, models, ranks=ranks))
    return True


@contextmanager
def _heard(stage: Stage, ranks: "Ranks | None") -> Iterator[None]:
    """Inside, what stops this rank stops the others."""
    if ranks is not None and not stage.trains:
        raise AccordError(
            "Ranks have nothing to train in this stage.", where=stage.name, fix="make it with one process"
        )
    try:
        yield
    except BaseException as error:
        if ranks is not None:
            ranks.leave(error)
        raise


def _tell(ranks: "Ranks | None", makes: bool) -> None:
    if ranks is not None:
        ranks.told(makes)


def _no_room(error: Exception, stage: Stage, folder: Path) -> DiskFull:
    """The error for a disk that was full while a stage was made: with what the rest of it takes, as far as is known."""
    needs, written = stage.needs(), disk_use(aside(folder, "partial"))
    known = error.needed if isinstance(error, DiskFull) else 0
    where = Path(error.filename) if isinstance(error, DiskFull) else folder
    return DiskFull(where, max(known, needs.disk + needs.passing - written))


def _relist(folder: Path, name: str) -> None:
    """Note that a run has what is in place, where a swap to other results was cut and is not gone on with."""
    there = sha256(folder / MANIFEST)
    if listed_as(folder) not in (None, there):
        list_stage(folder, name, there)


def made_here(run: Path, name: str) -> bool:
    """Whether a run folder holds results of a stage, undamaged, that were made from the inputs that it holds now."""
    manifest = read_manifest(run / name)
    if manifest is None or fault(run / name, manifest) is not None:
        return False
    inputs = [(read_manifest(run / source["stage"]), source) for source in manifest.get("inputs", {}).values()]
    return all(held is not None and held["fingerprint"] == source["fingerprint"] for held, source in inputs)


def made_otherwise(stage: Stage, folder: Path) -> MadeOtherwise:
    """How the results in a folder, whose state is "other", differ from those that the stage would put there."""
    manifest = read_manifest(folder)
    assert manifest is not None  # see `state`
    return MadeOtherwise.of(stage.name, manifest, stage.recipe)


def foreign(folder: Path) -> AccordError:
    """The error for a folder that holds something of the user's own."""
    problem = "This folder holds something that accord did not write."
    return AccordError(problem, where=folder, fix="name another folder, or move what is in this one")


def stage_in(run: Path, name: str) -> Stage:
    """A whole stage of a run folder as an input of others: with its recipe, but no way to make it.

    Raises AccordError if there is none of this name, or its manifest is damaged.
    """
    if not (run / name).is_dir():
        check_finished(run / name)
        raise AccordError("There is no such stage in this folder.", where=run / name)
    manifest = open_manifest(run / name)
    if "inputs" not in manifest:
        raise AccordError(
            "An earlier version of accord wrote this folder, and noted otherwise what it was made from.",
            where=run / name,
            fix="run the study again: accord run STUDY.toml",
        )
    kind, _, label = name.partition("/")
    prints = {role: of["fingerprint"] for role, of in manifest["inputs"].items()}
    recipe = Recipe(manifest["stage"], manifest["version"], manifest["settings"], manifest["seed"], prints)
    return Stage(kind, label, _not_made, recipe.settings, recipe.seed, recipe.version, from_manifest=recipe)


def _not_made(work: Work) -> None:
    raise AssertionError("a stage that was found is whole")


def _nowhere(stage: Input) -> Path:
    raise AssertionError(f"{stage.name} is made by itself: its inputs are in no run folder")


def _unseen(done: int, total: int) -> None:
    pass


def on_stderr(line: str) -> None:
    """Tell a line to who is at the terminal, beside what the command gives."""
    tell(line, err=True)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    # Not `disk.write_json`: a recipe must come back as it was, numbers that are not finite too, or its hash changes.
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def files_of(folder: Path) -> list[str]:
    """The files of a stage folder that its manifest lists: all but itself, as sorted posix paths."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    listed = set(paths) - {MANIFEST, MANIFEST + ".tmp", RECORD, RECORD + ".tmp", REPORT}
    return sorted(path for path in listed if not path.startswith(EXPORT + "/"))


def exported_files(folder: Path) -> dict[str, str]:
    """The files that exports wrote into a folder: name -> SHA-256."""
    files = (read_json(folder / LISTING) or {}).get("files")
    return {str(name): str(digest) for name, digest in files.items()} if isinstance(files, dict) else {}


def is_exported(folder: Path, name: str, files: Mapping[str, str]) -> bool:
    """Whether a file in a folder is as an export wrote it; `files` as `exported_files` gives them."""
    return name in files and (folder / name).is_file() and sha256(folder / name) == files[name]


def _check_place(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise AccordError("There is a file where the results should go.", where=folder, fix="Name another folder.")
    if Path.cwd().is_relative_to(folder) or os.path.ismount(folder):
        raise AccordError(
            "Results go into a folder of their own, which is replaced as a whole.",
            where=folder,
            fix="Name a folder below the current one.",
        )


def _recover(folder: Path, name: str, say: Callable[[str], None]) -> None:
    """Undo a swap that was cut between its two renames, or end one that was cut after them."""
    old = aside(folder, "old")
    if old.exists() and not folder.exists():
        old.rename(folder)
    clear_old(folder, name, say)


def is_cut_short(folder: Path) -> bool:
    """Whether something is left beside a stage's folder, of making or replacing it, that the next `publish` ends."""
    return any(aside(folder, what).exists() for what in ("partial", "old"))


def _go_on(folder: Path, partial: Path, recipe: Recipe) -> None:
    """Begin a partial with what an unfinished stage holds, unless there is one already."""
    begun = _recorded(partial) or read_manifest(partial) or {}
    if begun.get("fingerprint") == recipe.fingerprint:
        return
    manifest = read_manifest(folder)
    assert manifest is not None  # see `state`
    if partial.exists():
        spread.remove(partial)
    for name in manifest["files"]:
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / name, partial / name)
    partial.mkdir(parents=True, exist_ok=True)
    spans = manifest.get("spans", [])
    _record(partial, {"fingerprint": recipe.fingerprint, "started": manifest["started"], "spans": spans})


def _is_made(partial: Path, recipe: Recipe) -> bool:
    """Whether a partial holds a stage's results, and only the swap is left; if they are damaged, they are removed."""
    manifest = read_manifest(partial, recipe)
    if manifest is not None and fault(partial, manifest) is not None:
        discard(partial)
        return False
    return manifest is not None


def _record(partial: Path, content: Mapping[str, Any]) -> None:
    _write_json(partial / RECORD, with_check(content))


def _recorded(partial: Path) -> dict[str, Any] | None:
    record = read_json(partial / RECORD)
    return record if record is not None and passes_check(record) else None


def _open_partial(partial: Path, recipe: Recipe, session: Session) -> dict[str, Any]:
    """Make or resume the partial; what is noted of its making: since when, the seconds spent on it, its sessions."""
    record = _recorded(partial)
    if record is None or record.get("fingerprint") != recipe.fingerprint:
        if partial.exists():
            spread.remove(partial)
        partial.mkdir(parents=True)
        record = {"fingerprint": recipe.fingerprint, "started": _now(), "command": provenance.command()}
    record = {**without_check(record), "spans": session.spans(record.get("spans", []), ended=False)}
    _record(partial, record)
    return record


def _make(stage: Stage, work: Work, worker: str) -> None:
    from accord import on_cpu  # and torch, which a run with nothing to do never needs

    partial, begun, session = work.folder, time.monotonic(), Session(worker)
    try:
        record = _open_partial(partial, stage.recipe, session)
        with on_cpu.quick(), spread.owning(partial) if stage.spreads else nullcontext():
            result = stage.make(work)
        spread.close(partial)
        helpers = spread.helpers(partial)
        if result is not None:
            result.write(partial)
        if UNFINISHED not in work.facts:
            work.finish()
        seconds = float(record.get("seconds", 0.0)) + time.monotonic() - begun
        others: dict[str, Any] = {"helpers": helpers} if helpers else {}
        others |= {"ranks": work.ranks.size} if work.ranks is not None and work.ranks.size > 1 else {}
        _seal(partial, stage, work.facts, record, session, seconds, others)
    except BaseException:
        if not files_of(partial):  # nothing to go on from
            shutil.rmtree(partial, ignore_errors=True)
        elif (noted := _recorded(partial)) is not None:
            spent = float(noted.get("seconds", 0.0)) + time.monotonic() - begun
            spans = session.spans(noted.get("spans", []), ended=True)
            with suppress(OSError):  # a full disk, perhaps: what stopped it counts
                _record(partial, {**without_check(noted), "seconds": spent, "spans": spans})
        raise


def _seal(
    partial: Path,
    stage: Stage,
    facts: Mapping[str, Any],
    record: Mapping[str, Any],
    session: Session,
    seconds: float,
    others: Mapping[str, Any],
) -> None:
    """Bring the files to disk, then write the manifest that says they are all there.

    `others`: that made it with this worker, where there were any: its `helpers`, or the number of `ranks`.
    """
    files, recipe = {}, stage.recipe
    for name in files_of(partial):
        path = partial / name
        sync(path)
        files[name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    spans = session.spans(record["spans"], ended=True)
    manifest = {
        "stage": recipe.stage,
        "name": stage.name,
        "fingerprint": recipe.fingerprint,
        "version": recipe.version,
        "settings": dict(recipe.settings),
        "seed": recipe.seed,
        "inputs": {role: {"stage": of.name, "fingerprint": of.recipe.fingerprint} for role, of in stage.inputs.items()},
        "facts": dict(facts),
        "versions": provenance.versions(),
        "command": provenance.command(),
        "machine": {**session.machine(spans, str(facts.get("device", "cpu"))), **others},
        "started": str(record["started"]),
        "finished": _now(),
        "seconds": round(seconds, 3),
        "spans": spans,
        "files": files,
    }
    write_whole(partial / MANIFEST, sealed_json(manifest))


def _swap_in(folder: Path, partial: Path) -> None:
    """Put a new folder in place of the old one, which stands aside then."""
    (partial / RECORD).unlink(missing_ok=True)
    sync(partial)
    if folder.exists():
        folder.rename(aside(folder, "old"))
    partial.rename(folder)
    sync(folder.parent)


def clear_old(folder: Path, name: str, say: Callable[[str], None]) -> None:
    """Remove the folder that this one, of the stage `name`, replaced; what accord did not write is moved out of it.

    Of a folder whose manifest is damaged nobody knows what accord wrote, and all of it stays. Where it goes is said
    first: whatever stops this before it is there, the next call says it again.
    """
    old = aside(folder, "old")
    if not old.exists():
        return
    listed = (read_manifest(old) or {"files": {}})["files"]
    exported = {f"{EXPORT}/{file}": digest for file, digest in exported_files(old / EXPORT).items()}
    exported_now = [file for file in exported if is_exported(old, file, exported)]
    for file in [*listed, *exported_now, f"{EXPORT}/{LISTING}", MANIFEST, RECORD, REPORT]:
        with suppress(OSError):  # a folder in its place is nothing of ours
            (old / file).unlink()
    remove_empty(old)
    if not old.exists():
        return
    kept, i = folder.with_name(f"{folder.name}.kept"), 2
    while kept.exists():
        kept, i = folder.with_name(f"{folder.name}.kept-{i}"), i + 1
    say(f"{name}: what accord did not write there is now in {kept}")
    old.rename(kept)


def remove_empty(folder: Path) -> None:
    """Remove a folder and those below it, as far as there is nothing in them."""
    for above, _, _ in sorted(os.walk(folder), reverse=True):
        with suppress(OSError):
            Path(above).rmdir()


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
