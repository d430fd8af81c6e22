"""What docs/cluster.md shows: the scripts parse, and a job whose time is over stops its command and is queued again."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize("script", blocks("bash"))
def test_the_scripts_are_bash(script):
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_job_of_kubernetes_is_yaml_and_runs_accord():
    yaml = pytest.importorskip("yaml", reason="of the RayJob manifest (pip install pyyaml)")
    (job,) = [yaml.safe_load(text) for text in blocks("yaml")]
    assert job["kind"] == "RayJob" and job["spec"]["entrypoint"].startswith("accord run ")
    groups = [job["spec"]["rayClusterSpec"]["headGroupSpec"], *job["spec"]["rayClusterSpec"]["workerGroupSpecs"]]
    mounts = [group["template"]["spec"]["containers"][0]["volumeMounts"] for group in groups]
    assert all(mount == [{"name": "runs", "mountPath": "/runs"}] for mount in mounts)


@pytest.fixture
def slurm(tmp_path, request):
    """A folder with the script of the job, and commands in place of Slurm's, Ray's and accord."""
    (tmp_path / "job.sh").write_text(next(script for script in blocks("bash") if "#SBATCH" in script))
    commands = {
        "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
        "ray": 'while [[ $1 != -- ]]; do shift; done; shift; "$@"; exit $?',
        "scontrol": 'echo "$@" >> "$HERE/said"',
        "accord": 'echo "accord $@" >> "$HERE/said"; trap "echo left >> $HERE/said; exit ${CODE:-143}" TERM; '
        "for i in $(seq 300); do [ -e $HERE/end ] && exit 3; sleep 0.1; done",
    }
    for name, text in commands.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    names = {
        "HERE": tmp_path,
        "SLURM_JOB_ID": "7",
        "SLURM_NNODES": "2",
        "CODE": getattr(request, "param", 143),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }
    environment = {**os.environ, **{name: str(value) for name, value in names.items()}}
    job = subprocess.Popen(["bash", "job.sh", "my.toml"], cwd=tmp_path, env=environment)
    while not (tmp_path / "said").exists():
        time.sleep(0.02)
    yield tmp_path, job
    (tmp_path / "end").write_text("")
    job.wait(30)


def test_a_job_that_is_told_of_its_end_is_queued_again(slurm):
    folder, job = slurm
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == 143
    said = (folder / "said").read_text().splitlines()
    assert said == ["accord run my.toml --engine ray --address auto", "left", "requeue 7"]


@pytest.mark.parametrize(("slurm", "code"), [(0, 0), (1, 1)], indirect=["slurm"])
def test_a_job_whose_command_ended_by_itself_meanwhile_is_not_queued_again(slurm, code):
    folder, job = slurm
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == code
    assert "requeue" not in (folder / "said").read_text()


def test_a_job_ends_as_its_command_does(slurm):
    folder, job = slurm
    (folder / "end").write_text("")
    assert job.wait(30) == 3
    assert "requeue" not in (folder / "said").read_text()
