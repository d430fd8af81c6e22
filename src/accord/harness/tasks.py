"""Tasks of lm-evaluation-harness, run on a model of accord: a row for each document and metric.

A task is named as there, or is a file of its format; a name may be of a group of tasks.
"""

import hashlib
import json
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from accord.arguments import checked
from accord.cache import checked_once, kept_hash
from accord.disk import path_of
from accord.errors import AccordError
from accord.harness.installed import check_installed, installed_version
from accord.progress import Progress
from accord.section import folder_name
from accord.unfinished import belongs, each

if TYPE_CHECKING:
    from accord.lm import LanguageModel

COLUMNS = ("asked", "task", "metric", "better", "aggregation", "document", "hash", "value", "weight", "reported")
FILE = ".yaml"  # how task files end
SEEDS = 0, 1234  # its defaults: of Python, and of numpy and PyTorch
_CLOSE = 5  # names that an unknown one may have been meant to be


def is_file(name: str) -> bool:
    """Whether a task is given as a file.

    >>> is_file("tasks/own.yaml"), is_file("arc_easy")
    (True, False)
    """
    return name.endswith(FILE)


def check_tasks(names: Sequence[str]) -> None:
    """Raise AccordError unless the library is installed and has every task; loads no data and runs no code of files.

    Its list of names takes a quarter of a minute to read: a name that was once found is not looked up again.
    """
    check_installed()
    asked = [_asked(name) for name in names]
    if twice := sorted({name for name in asked if asked.count(name) > 1}):
        fix = "name it once; of two files, give one another name: task: NAME"
        raise AccordError("a task of lm-evaluation-harness is named twice", got=twice[0], fix=fix)
    for name in names:
        if not is_file(name):
            checked_once({"task of lm_eval": name, "lm_eval": installed_version()}, partial(_look_up, name))


def _asked(name: str) -> str:
    """What a task is called in tables: its name, or that which its file gives."""
    return str(_config(path_of(name), functions=False)["task"]) if is_file(name) else name


def task_settings(names: Sequence[str], limit: int | None) -> dict[str, Any]:
    """What fixes the tasks, as JSON: names, seeds, the library's version, contents of files and of data beside them."""
    tasks = [_identity(name) for name in names]
    return {"lm_eval": installed_version(), "tasks": tasks, "limit": limit, "seeds": list(SEEDS)}


def load_tasks(name: str) -> dict[str, Any]:
    """The tasks of a name or file, with their data, which is fetched if it is not here: name -> task.

    Raises AccordError if there is no such task, or its data cannot be loaded.
    """
    check_tasks([name])
    loader = _Loader(name)
    with _apart():
        loader.load([_said(name)])
    return loader.tasks


def _said(name: str) -> Any:
    """A task as the library takes it; functions that a file names are imported."""
    return _config(path_of(name)) if is_file(name) else name


class _Loader:
    """Its manager of tasks, of which what was loaded stays at hand."""

    def __init__(self, name: str) -> None:
        self.name, self.tasks = name, dict[str, Any]()
        self._manager = _manager(not is_file(name))
        self.task_index = self._manager.task_index

    def load(self, tasks: list[Any]) -> dict[str, Any]:
        """As the manager's own; raises AccordError where a task cannot be loaded."""
        try:
            loaded: dict[str, Any] = self._manager.load(tasks)
        except Exception as error:  # a dozen classes, of the libraries beneath too
            raise _failed("could not be loaded", self.name, error) from error
        self.tasks = loaded["tasks"]
        return loaded


@checked
def run_tasks(
    lm: "LanguageModel",
    tasks: Sequence[str],
    *,
    limit: int | None = None,
    parts: Path | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Run tasks of lm-evaluation-harness: what it would report of the model, document by document.

    >>> harness.run_tasks(lm, ["arc_easy"], limit=100).groupby("metric")["value"].mean()  # doctest: +SKIP

    Few-shot examples and templates are those that it has by default, with its own seeds.

    Args:
        tasks: names of tasks or of groups, or files that end in .yaml.
        limit: of each task, at most so many documents from its beginning; all by default.
        parts: a folder for finished tasks: a killed run goes on from there.
        progress: called with (work done, work in all).

    Returns:
        A row for each document and metric: asked (the name, or the file's task), task, metric (with its filter, where
        that is not "none"), better ("higher", "lower" or ""), aggregation (how it makes one number of all), document
        (its number in the task), hash (of its contents), value and weight (of a mean; NaN and 1 where a document has no
        number of its own), reported (the number that it reports of the task).

    Raises:
        AccordError: the library or a task is missing, data cannot be loaded, a task cannot be run on such a model or
            runs code that a model wrote.
    """
    check_tasks(tasks)
    belongs(parts, {"model": lm.settings(), "tasks": task_settings(tasks, limit)})
    makes = {
        f"{i:03}-{folder_name(name)}.parquet": partial(_run, lm, name, limit, _share(progress, i, len(tasks)))
        for i, name in enumerate(tasks)
    }
    tables = list(each(parts, makes))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))


def _share(progress: Progress | None, which: int, of: int) -> Progress | None:
    """Progress of one of several tasks as progress of all."""
    if progress is None:
        return None
    return lambda done, total: progress(1000 * which + 1000 * done // max(total, 1), 1000 * of)


def _run(lm: "LanguageModel", name: str, limit: int | None, progress: Progress | None) -> pd.DataFrame:
    from lm_eval.evaluator import simple_evaluate

    from accord.harness.model import AccordLM

    # It loads the tasks itself, after it has set its seeds: some draw the order of their choices as they are loaded.
    loader = _Loader(name)
    try:
        with _apart():
            found = simple_evaluate(
                AccordLM(lm, progress=progress or (lambda done, total: None)),
                tasks=[_said(name)],
                task_manager=loader,
                limit=limit,
                bootstrap_iters=0,
            )
    except AccordError:
        raise
    except Exception as error:  # of its tasks, whatever they are
        raise _failed("could not be run", name, error) from error
    rows = [row for task, of in loader.tasks.items() for row in _rows(_asked(name), task, of, found)]
    if not rows:
        raise AccordError("a task of lm-evaluation-harness has no documents", got=name)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(asked: str, name: str, task: Any, found: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """A row for each document and metric of a task, see `run_tasks`."""
    better, aggregation = task.higher_is_better(), task.aggregation()
    for sample in sorted(found["samples"][name], key=lambda sample: int(sample["doc_id"])):
        for metric in sample["metrics"]:
            full = metric if sample["filter"] == "none" else f"{metric},{sample['filter']}"
            direction = {True: "higher", False: "lower"}.get(better.get(metric), "")
            how = getattr(aggregation.get(metric), "__name__", "")
            reported = found["results"][name].get(f"{metric},{sample['filter']}")
            value, weight = _number(sample[metric])
            whole = float(reported) if isinstance(reported, int | float) else float("nan")
            document = int(sample["doc_id"])
            yield asked, name, full, direction, how, document, sample["doc_hash"], value, weight, whole


def _number(value: Any) -> tuple[float, float]:
    """A document's number and its weight; NaN where it has none of its own."""
    if isinstance(value, bool | int | float | np.number | np.bool_):
        return float(value), 1.0
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, int | float) for part in value):
        return float(value[0]), float(value[1])
    return float("nan"), 1.0


@cache
def _manager(defaults: bool) -> Any:
    """What finds tasks by name; with all those that the library brings, it takes a while to make."""
    from lm_eval.tasks import TaskManager

    with _apart():
        return TaskManager(include_defaults=defaults)


def _look_up(name: str) -> None:
    names = _manager(True).all_tasks
    if name not in names:
        close = get_close_matches(name[:80], names, n=_CLOSE, cutoff=0.5)
        raise AccordError(
            "lm-evaluation-harness has no task or group of this name",
            got=name,
            wanted=f"{', '.join(close)}, or others that it has" if close else None,
            fix="its names: lm_eval ls tasks; or a task file of its format, NAME.yaml",
        )


def _config(path: Path, *, functions: bool = True) -> dict[str, Any]:
    """What a task file says; data files that lie beside it are found there.

    Args:
        functions: give functions that it names themselves; else their names, and nothing is imported.
    """
    from lm_eval.tasks._yaml_loader import load_yaml

    try:
        config: dict[str, Any] = load_yaml(path, resolve_func=functions)
    except OSError as error:
        raise AccordError("a task file cannot be read", where=path, got=error.strerror or error) from error
    except Exception as error:  # of its reader of YAML, or of the code that it names
        raise _failed("is no task file that can be read", str(path), error) from error
    if not isinstance(config.get("task"), str):
        wanted = "task: NAME, as in its own task files"
        raise AccordError("a task file names one task", where=path, got=f"task: {config.get('task')!r}", wanted=wanted)
    options = config.get("dataset_kwargs")
    if isinstance(options, dict) and "data_files" in options:
        config["dataset_kwargs"] = {**options, "data_files": _beside(path, options["data_files"])}
    return config


def _beside(path: Path, files: Any) -> Any:
    """Names of data files, where they are beside the task file or below its folder."""
    if isinstance(files, dict):
        return {split: _beside(path, some) for split, some in files.items()}
    if isinstance(files, list):
        return [_beside(path, some) for some in files]
    there = path.resolve().parent / str(files)
    return str(there) if there.is_file() else files


def _identity(name: str) -> Any:
    if not is_file(name):
        return name
    path = path_of(name)
    config = _config(path, functions=False)
    files = config.get("dataset_kwargs", {}).get("data_files", []) if config.get("dataset_kwargs") else []
    data = {str(Path(file).name): kept_hash(Path(file)) for file in _flat(files) if Path(file).is_file()}
    code = {file.name: kept_hash(file) for file in sorted(path.resolve().parent.glob("*.py"))}
    here = str(path.resolve().parent)  # a folder that is moved holds the same task
    said = json.dumps(config, sort_keys=True, default=str).replace(json.dumps(here)[1:-1], "")
    contents = json.dumps([said, data, code], sort_keys=True)
    return {"task": config["task"], "sha256": hashlib.sha256(contents.encode()).hexdigest()}


def _flat(files: Any) -> list[str]:
    if isinstance(files, dict):
        files = list(files.values())
    return [file for some in files for file in _flat(some)] if isinstance(files, list) else [str(files)]


def _failed(what: str, name: str, error: Exception) -> AccordError:
    return AccordError(
        f"a task of lm-evaluation-harness {what}",
        where=name,
        got=(str(error).strip() or type(error).__name__).splitlines()[0],
    )


@contextmanager
def _apart() -> Iterator[None]:
    """The library without its bars and remarks, as its caller tells how far it is, and with random numbers of its own.

    Those of Python, numpy and PyTorch start from its default seeds and are put back as they were: the `datasets`
    library keeps what a task makes of its documents when it first loads them.
    """
    import datasets
    import lm_eval.api.task as building
    import torch

    log, bar, quiet = logging.getLogger("lm_eval"), building.tqdm, datasets.are_progress_bars_disabled()
    level, python, arrays = log.level, random.getstate(), np.random.get_state()
    log.setLevel(logging.ERROR)
    building.tqdm = partial(bar, disable=True)
    datasets.disable_progress_bars()
    try:
        with torch.random.fork_rng():
            random.seed(SEEDS[0])
            np.random.seed(SEEDS[1])
            torch.manual_seed(SEEDS[1])
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)
        building.tqdm = bar
        if not quiet:
            datasets.enable_progress_bars()
        log.setLevel(level)
