"""Workers on Ray whose stages take no model: they sleep, wait for a file or a helper, fail, or kill their own process.

What a worker is told as the text of a study is here a list of stages in JSON.
"""

import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

from accord.cluster.ray_worker import RayWorker
from accord.cluster.schedule import Job
from accord.cluster.shared import what_is_wrong
from accord.cluster.worker import Hello
from accord.errors import AccordError
from accord.study.graph import Graph
from accord.study.stage import Stage
from accord.unfinished import each


def planned(text, folder):
    """The stages of a text: each with `name`, `inputs`, and `how` it goes."""
    stages = {}
    for of in json.loads(text):
        inputs = {name: stages[name] for name in of.get("inputs", [])}
        kind, _, label = of["name"].partition("/")

        def make(work, of=of, inputs=inputs):
            does(of["how"], work, Path(folder).parent)
            read = [(work.at(stage) / "found.txt").read_text() for stage in inputs.values()]
            (work.folder / "found.txt").write_text(f"{of['name']}({', '.join(read)})")

        stages[of["name"]] = Stage(
            kind,
            label,
            in_parts if of["how"] == "in parts" else make,
            {"how": of["how"]},
            0,
            1,
            inputs,
            model=of.get("model", "m"),
            spreads=of["how"] == "in parts",
        )
    return list(stages.values())


def in_parts(work):
    """Four parts, each the name of who computed it; the first is not done before somebody has helped."""
    import torch

    who = "helper" if work.helping else "owner"

    def part():
        for _ in range(600):
            if work.helping or list(work.parts.glob("*.json")):
                return {"by": who}
            time.sleep(0.05)
        raise AccordError("nobody helped")

    work.begun_with(SimpleNamespace(name="none", device=torch.device("cpu"), dtype=torch.float32))
    found = [of["by"] for of in each(work.parts, {f"{number}.json": part for number in range(4)})]
    work.all_parts_made()
    (work.folder / "found.txt").write_text(" ".join(found))


def does(how, work, folder):
    what, _, about = how.partition(" ")
    if what == "sleep":
        time.sleep(float(about))
    elif what == "wait":
        for done in range(600):
            work.progress(done, 600)
            if (folder / about).exists():
                return
            time.sleep(0.1)
        raise AccordError("nobody came")
    elif what == "die" and not (folder / about).exists():
        (folder / about).write_text("")
        os.system("echo last words")
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "fail":
        print("before it fails")
        raise AccordError("This cannot be made.", got=about)


def jobs_of(text):
    return [
        Job(
            of["name"],
            tuple(of.get("inputs", ())),
            of.get("seconds", 1.0),
            of.get("model", "m"),
            of["how"] == "in parts",
        )
        for of in json.loads(text)
    ]


class SleepingWorker(RayWorker):
    """Plans such stages."""

    def hello(self):
        """Its machine is named by Ray's number: all are on one host."""
        import ray

        node = ray.get_runtime_context().get_node_id()
        return Hello(node, 1, what_is_wrong(self._folder, self._told.mark, patience=2.0))

    def _plan(self):
        return Graph(planned(self._told.text, self._told.folder), {})
