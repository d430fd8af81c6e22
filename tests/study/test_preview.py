"""A part of a study, and what a run would do: `accord run --only` and `--dry-run`."""

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from tests.study.made_run import change, said
from tests.tiny import tiny_hub_folder, tiny_texts

from accord.disk import lock
from accord.errors import AccordError
from accord.study import costs, engine, load, plan_study
from accord.study.graph import Graph
from accord.study.preview import dry_run
from accord.study.run_status import status
from accord.study.stage import Stage

STUDY = """
name = "s"
seeds = [0, 1]
[backbone]
model = "model"
device = "cpu"
[text]
source = "texts.txt"
max_tokens = 200
held_out_tokens = 80
[[concepts]]
kind = "topk"
size = 16
k = 4
training = { steps = 4, batch = 32 }
[[heads]]
kind = "original"
"""
TOPK = ["embeddings", "concepts/topk-s0", "concepts/topk-s1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("preview")
    tiny_hub_folder(folder / "model")
    (folder / "texts.txt").write_text("\n".join(tiny_texts()))
    return folder


@pytest.fixture
def study(made, tmp_path, monkeypatch):
    """Write the study beside the model, changed; its path. The run folder is below `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def write(old="", new=""):
        (made / "s.toml").write_text(STUDY.replace(old, new, 1) if old else STUDY)
        return made / "s.toml"

    return write


def write(work):
    (work.folder / "result.txt").write_text("done")


def node(kind, label, *inputs):
    return Stage(kind, label, write, {}, 0, 1, {source.name: source for source in inputs})


def tree(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_what_is_chosen_and_what_it_is_made_from():
    base, other = node("repair", "r-s0"), node("gap", "g")
    verdict = node("verdict", "r-s0", base)
    damage = node("damage", "r-s0", verdict)
    graph = Graph([other, base, verdict, damage], {})
    assert graph.chosen([]) == [other, base, verdict, damage]
    assert graph.chosen(["damage"]) == [base, verdict, damage]
    assert graph.chosen(["verdict/r-s0", "gap"]) == [other, base, verdict]
    assert graph.chosen(["heads", "gap"]) == [other]  # `accord train` asks for what a study may lack
    for word, wanted in (("damages", "did you mean 'damage'"), ("damage/r-s1", "did you mean 'damage/r-s0'")):
        with pytest.raises(AccordError, match="no such stage") as error:
            graph.chosen([word, "gap"])
        assert wanted in str(error.value) and "gap, repair, verdict, damage" in str(error.value)
    with pytest.raises(AccordError, match="makes no heads"):
        graph.chosen(["heads"])


def test_only_runs_that_much_and_keeps_the_plan(study):
    run = lambda *only: engine.run(study(), console=Console(file=io.StringIO()), only=only)  # noqa: E731
    with pytest.raises(AccordError, match="no such stage"):
        run("topkk")
    assert not Path("runs").exists()
    assert run("concepts/topk-s0") == Path("runs/s") and not Path("runs/s/report.html").exists()
    standing = status(Path("runs/s"))
    assert standing.done == 2 and standing.of == len(plan_study(load(study())).stages) > 4
    assert [stage.name for stage in standing.stages if stage.state == "whole"] == TOPK[:2]
    run("concepts")
    assert [stage.name for stage in status(Path("runs/s")).stages if stage.state == "whole"] == TOPK


def test_a_dry_run_tells_everything_and_touches_nothing(study, tmp_path, monkeypatch):
    engine.run(study(), console=Console(file=io.StringIO()), only=["concepts"])
    change(Path("runs/s/concepts/topk-s1/manifest.json"), finished="2026-03-01T10:00:00+00:00", seconds=41.0)
    Path("runs/s/concepts/mine").mkdir()
    shutil.copytree("runs/s/concepts/topk-s0", "runs/s/concepts/old-s0")
    path = study("k = 4", "k = 5")
    stage = next(stage for stage in plan_study(load(path)).stages if stage.name == "concepts/topk-s0")
    partial = Path("runs/s/concepts/.topk-s0.partial")
    partial.mkdir()
    (partial / "partial.json").write_text(json.dumps({"fingerprint": stage.recipe.fingerprint, "started": "x"}))
    (partial / "part").write_text("1" * 5000)
    before = tree(tmp_path), tree(path.parent)
    monkeypatch.setattr(costs, "measured", lambda stage: 200.0 if stage.kind == "concepts" else None)
    found = dry_run(path, only=["concepts", "heads/topk-reconstruction-original-s0"])
    assert (tree(tmp_path), tree(path.parent)) == before
    assert [stage.name for stage in found.stages] == [*TOPK, "heads/topk-reconstruction-original-s0"]
    embeddings, first, second, head = found.stages
    assert embeddings.up_to_date and [one.name for one in found.to_do] == [first.name, second.name, head.name]
    assert first.why.startswith("model.k (4 → 5)") and first.begun >= 5000 and second.begun == 0
    assert second.replaces is not None and second.replaces.seconds == 41.0 and second.replaces.bytes == second.bytes
    assert head.why == "to do" and head.replaces is None and head.seconds is None
    assert found.seconds == 400.0 and found.unknown == 1 and found.of > 4 and found.downloads == ()
    assert found.left == ("concepts/old-s0",)
    (room,) = found.rooms
    assert not room.at_least and room.free > 0 and room.needed > 0
    words = ["run", path, "--dry-run", "--only", "concepts"]
    code, text = said(*words, COLUMNS="200")
    assert code == 0 and (tree(tmp_path), tree(path.parent)) == before
    for line in (
        "embeddings: up to date",
        "concepts/topk-s1: model.k (4 → 5) changed, to do again",
        ", made 2026-03-01 10:00 in 41 s",
        "takes about 3 min, less what is done: goes on from 5 kB that were interrupted; replaces ",
        f"To do in runs/s: 2 of these 3 stages (the study has {found.of}), about 7 min.",
        "concepts/old-s0: no longer in the study, left as it is",
        "nothing was fetched or written",
    ):
        assert line in text, text
    with lock(Path("runs/s").resolve()):
        assert "a run would be refused" in said(*words)[1]
    code, text = said("run", study(), "--dry-run", "--only", "concepts")
    assert "Nothing to do in runs/s: these 3 stages" in text


def test_all_differences_are_told(study):
    engine.run(study(), console=Console(file=io.StringIO()), only=["embeddings"])
    path = study()
    text = path.read_text().replace("max_tokens = 200", 'max_tokens = 190\nmax_length = 90\nstride = 40\nlabel = "x"')
    path.write_text(text.replace("held_out_tokens = 80", "held_out_tokens = 70"))
    (path.parent / "texts.txt").with_suffix(".csv").write_text(
        "text,x\n" + "\n".join(f"{line},1" for line in tiny_texts())
    )
    path.write_text(path.read_text().replace("texts.txt", "texts.csv"))
    (embeddings,) = dry_run(path, only=["embeddings"]).stages
    for key in ("max_tokens (200 → 190)", "held_out_tokens (80 → 70)", "max_length (512 → 90)", "stride", "label"):
        assert key in embeddings.why


def test_the_room_of_embeddings_is_known_before_they_are_made(study):
    (embeddings,) = dry_run(study(), only=["embeddings"]).stages
    width = json.loads((study().parent / "model" / "config.json").read_text())["hidden_size"]
    assert embeddings.bytes == 280 * (width * 4 + 16)
    engine.run(study(), console=Console(file=io.StringIO()), only=["embeddings"])
    shards = sum(path.stat().st_size for path in Path("runs/s/embeddings").rglob("*.safetensors"))
    assert embeddings.bytes <= shards < 1.1 * embeddings.bytes + 2000
    (unlimited,) = dry_run(study("max_tokens = 200\n", ""), only=["embeddings"]).stages
    assert unlimited.bytes is not None and unlimited.replaces is not None  # as large as what is there


def test_what_must_be_fetched_is_told_with_its_size(study, monkeypatch, tmp_path):
    engine.run(study(), console=Console(file=io.StringIO()), only=["concepts"])
    monkeypatch.setenv("ACCORD_HOME", str(tmp_path / "empty"))
    path = study('model = "model"', 'model = "smollm2-135m"')
    path.write_text(path.read_text() + '[perplexity]\njudge = "org/judge"\n')
    found = dry_run(path, only=["concepts"])
    assert [(download.name, download.bytes) for download in found.downloads] == [
        ("smollm2-135m", 92_871_040),
        ("org/judge", None),
    ]
    assert {stage.why for stage in found.stages} == {"known once what it needs is fetched, else to do again"}
    code, text = said("run", path, "--dry-run", COLUMNS="200")
    assert code == 0 and not (tmp_path / "empty").exists()
    assert "To fetch: smollm2-135m, a model: 93 MB to fetch, 538 MB on the disk then." in text
    assert "To fetch: org/judge, a model: how large, only the hub knows." in text
    assert "Disk: at least " in text


def test_a_dry_run_finds_what_a_run_would_refuse(study, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(AccordError, match="not a run folder"):
        dry_run(study(), tmp_path / "mine")
    with pytest.raises(AccordError, match="did you mean 'concepts'"):
        dry_run(study(), only=["concept"])
    with pytest.raises(AccordError, match=r"s\.toml:"):
        dry_run(study("topk", "topkk"))
    assert not Path("runs").exists()
