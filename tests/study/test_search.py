"""Searching: ranges in a study file, trials through the stages, several processes, kills, and what is left behind."""

import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from tests.tiny import tiny_model, tiny_tokenizer
from typer.testing import CliRunner

from accord import cli
from accord.disk import lock
from accord.errors import AccordError
from accord.study import engine, objective, search_file, store, work
from accord.study.config import load, models_in
from accord.study.ranges import Interval
from accord.study.root import study_model
from accord.study.search import search
from accord.study.toml_lines import value_at
from accord.study.trials import Trials

STUDY = """\
# what is sought
name = "s"
seeds = [0, 1]

[backbone]
model = "model"            # don't touch
device = "cpu"

[text]
source = "texts.txt"
max_tokens = 200
held_out_tokens = 100

[[concepts]]
name = "sae"
kind = { choices = ["topk", "batchtopk"] }
size = { low = 8, high = 32, step = 8 }  # the dictionary
k = 2
training = { steps = 4, batch = 64, lr = { low = 1e-4, high = 1e-2, log = true } }

[[concepts]]
kind = "l1"
size = 8
training = { steps = 4, batch = 64 }

[search]
objective = "concepts/sae:r2"
direction = "maximize"
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a model and texts."""
    folder = tmp_path_factory.mktemp("search")
    tiny_model().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    words = ["food", "bird", "kind", "of", "are", "yes", "no"]
    lines = [" ".join(words[(i * j + j) % 7] for j in range(3, 8)) + f" {i}" for i in range(25)]
    (folder / "texts.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    """Write a study beside the model and search it below `tmp_path`; the trials."""
    monkeypatch.chdir(tmp_path)

    def run(text=STUDY, trials=3, out=None, replace=False):
        path = made / "study.toml"
        path.write_text(text)
        return search(path, trials, out, console=Console(file=io.StringIO()), replace=replace)[0]

    return run


@pytest.fixture
def quick(monkeypatch):
    """No pages are drawn."""
    monkeypatch.setattr("accord.report.write_report", lambda folder: folder)


def test_a_search(run, made, tmp_path, monkeypatch):
    trials = run()
    folder = tmp_path / "runs" / "s"
    assert [trial.number for trial in sorted(trials, key=lambda trial: trial.number)] == [0, 1, 2]
    assert trials[0].value == max(trial.value for trial in trials)
    # What no range touches is made once; what the objective does not need is not made.
    assert (folder / "embeddings" / "train" / "store.json").is_file()
    assert {path.name for path in folder.glob("trials/0*/*/*")} == {"sae-s0", "sae-s1"}
    assert not list(folder.glob("concepts/*")) and not list(folder.glob("trials/*/embeddings"))
    # The objective is the mean over the study's seeds.
    for trial in trials:
        paths = [folder / f"trials/{trial.number:04}/concepts/sae-s{seed}/metrics.json" for seed in (0, 1)]
        values = [json.loads(path.read_text()) for path in paths]
        assert trial.value == pytest.approx(sum(value["r2"] for value in values) / 2)
        assert all(value["kind"] == trial.values["kind"] for value in values)
        kept = load(folder / f"trials/{trial.number:04}/study.toml").study
        assert kept.concepts[0].training.lr == trial.values["lr"] and kept.concepts[0].size == trial.values["size"]
    table = pd.read_csv(folder / "trials.csv")
    assert list(table.columns) == ["trial", "concepts/sae:r2", "kind", "size", "lr", "failed"]
    assert list(table["concepts/sae:r2"]) == pytest.approx([trial.value for trial in trials], rel=1e-14)

    # The best study is one for accord run, in a folder of its own, with the user's comments.
    best = folder / "best.toml"
    assert "# don't touch" in best.read_text() and "# the dictionary" in best.read_text()
    assert engine.run(best, console=Console(file=io.StringIO()), only=["concepts", "heads"]) == Path("runs/s-best")
    again = json.loads((tmp_path / "runs/s-best/concepts/sae-s1/metrics.json").read_text())
    first = json.loads((folder / f"trials/{trials[0].number:04}/concepts/sae-s1/metrics.json").read_text())
    assert again["r2"] == first["r2"]

    page = (folder / "report.html").read_text()
    assert "Best of 3 trials" in page and "best.toml" in page
    monkeypatch.setattr("accord.lm.load", None)  # a rerun must not load weights
    assert run() == trials


def begin(made, folder, trials, log):
    """A real process of `accord search`, its messages in a file."""
    words = [sys.executable, "-m", "accord", "search", made / "study.toml", "--trials", trials, "--out", folder]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with log.open("w") as messages:
        return subprocess.Popen(
            list(map(str, words)), env=environment, stdout=subprocess.DEVNULL, stderr=messages, text=True
        )


def test_several_processes_and_one_that_is_killed(run, made, tmp_path, quick):
    # In float32: other processes would take what units the machine has.
    slow = STUDY.replace('device = "cpu"', 'device = "cpu"\ndtype = "float32"')
    slow = slow.replace("training = { steps = 4, batch = 64, lr", "training = { steps = 100, batch = 64, lr")
    (made / "study.toml").write_text(slow)
    folder, logs = tmp_path / "out", [tmp_path / f"{i}.log" for i in range(2)]
    begun = [begin(made, folder, 4, log) for log in logs]
    # Each process says which trial it begins, and again when it is done: with one line it is in the midst of its first.
    while not (at_work := [i for i in range(2) if logs[i].read_text().count("trial ") == 1]):
        assert all(process.poll() is None for process in begun), [log.read_text() for log in logs]
        time.sleep(0.02)
    killed = at_work[0]
    begun[killed].send_signal(signal.SIGKILL)
    left = re.search(r"trial (\d+)", logs[killed].read_text())[1]
    for i, process in enumerate(begun):
        assert process.wait(timeout=120) == 0 or i == killed, logs[i].read_text()
    others = "".join(logs[i].read_text() for i in range(2) if i != killed)
    assert f"trial {left}: concepts/sae:r2 = " in others  # gone on with by one of them
    trials = run(slow, 4, folder)
    assert sorted(trial.number for trial in trials) == list(range(4))
    # Each trial has the values that its number gives it, whichever process drew them, and the same result.
    alone = {trial.number: trial for trial in run(slow, 4, tmp_path / "alone")}
    assert {trial.number: trial.values for trial in trials} == {number: trial.values for number, trial in alone.items()}
    assert [trial.value for trial in trials] == pytest.approx([alone[trial.number].value for trial in trials])
    assert len({trial.values["lr"] for trial in trials}) == 4


def test_an_interrupted_trial_is_gone_on_with(run, tmp_path, monkeypatch, quick):
    done = []

    def publish(stage, folder, **options):
        if stage.kind == "concepts":
            done.append(folder)
            if len(done) == 4:  # the second seed of the second trial
                raise KeyboardInterrupt
        return original(stage, folder, **options)

    original = store.publish
    with monkeypatch.context() as patch:
        patch.setattr(store, "publish", publish)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert not (tmp_path / "runs/s/trials.csv").exists() and len(done) == 4
    before = json.loads((tmp_path / "runs/s/trials/0001/concepts/sae-s0/manifest.json").read_text())
    trials = run()
    assert sorted(trial.number for trial in trials) == [0, 1, 2]
    after = json.loads((tmp_path / "runs/s/trials/0001/concepts/sae-s0/manifest.json").read_text())
    assert before == after


def test_a_process_that_dies_while_drawing_leaves_no_trial(run, tmp_path, monkeypatch, quick):
    from optuna.trial import Trial

    original = Trial._suggest

    def suggest(trial, name, distribution):
        if name == "lr":
            raise KeyboardInterrupt
        return original(trial, name, distribution)

    with monkeypatch.context() as patch:
        patch.setattr(Trial, "_suggest", suggest)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert sorted(trial.number for trial in run(trials=2)) == [1, 2]


def test_a_trial_that_fails_is_told_and_not_tried_again(run, tmp_path, quick):
    text = STUDY.replace("k = 2", "k = { low = 2, high = 20 }").replace(
        "low = 8, high = 32, step = 8", "low = 8, high = 24"
    )
    trials = run(text, 8)
    failed = [trial for trial in trials if trial.value is None]
    assert len(trials) == 8 and 0 < len(failed) < 8 and trials[-len(failed) :] == failed
    for trial in failed:
        assert trial.values["k"] > trial.values["size"] and "larger than size" in trial.reason
    assert run(text, 8) == trials
    table = pd.read_csv(tmp_path / "runs/s/trials.csv")
    assert list(table["failed"].notna()) == [trial.value is None for trial in trials]
    hopeless = STUDY.replace(
        "k = 2\ntraining = { steps = 4, batch = 64, lr = { low = 1e-4, high = 1e-2, log = true } }",
        "k = 2\ntraining = { steps = 4, batch = 64, lr = { low = 1e38, high = 1e39 } }",
    )
    with pytest.raises(AccordError, match="No trial gives a value") as caught:
        run(hopeless, 2, tmp_path / "hopeless")
    assert "not a finite number" in str(caught.value) and not (tmp_path / "hopeless/best.toml").exists()
    assert not list((tmp_path / "hopeless/trials").rglob(".*.partial"))


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_samplers_that_learn(tmp_path, sampler):
    """Later draws lie nearer to the best value than random ones."""
    from accord.study.ranges import Range
    from accord.study.search_config import SearchSection

    def late(sampler):
        section = SearchSection(objective="x", direction="minimize", sampler=sampler, seed=1)
        trials = Trials(tmp_path / sampler, "s", section, [Range(("x",), "x", Interval(low=0.0, high=1.0))])
        (tmp_path / sampler).mkdir(exist_ok=True)
        for _ in range(25):
            with trials.claim(25) as claim:
                claim.folder.mkdir(parents=True)
                trials.finish(claim, (claim.values["x"] - 0.3) ** 2)
        with trials.claim(25) as claim:
            assert claim is None
        finished = sorted(trials.finished(), key=lambda trial: trial.number)
        assert trials.finished()[0].value == min(trial.value for trial in finished)
        return statistics.median(abs(trial.values["x"] - 0.3) for trial in finished[-12:])

    assert late(sampler) < 0.6 * late("random")


def test_two_claims_are_two_trials(tmp_path):
    from accord.study.ranges import Range
    from accord.study.search_config import SearchSection

    section = SearchSection(objective="x", direction="maximize")
    here, there = (Trials(tmp_path, "s", section, [Range(("x",), "x", Interval(low=0, high=9))]) for _ in range(2))
    with here.claim(2) as first, there.claim(2) as second:
        assert {first.number, second.number} == {0, 1}
        with there.claim(2) as third:
            assert third is None  # both are under way
    with there.claim(2) as again:
        assert again == first  # given up without a result, so left behind


def test_a_lock_of_the_journal_that_a_dead_process_left_holds_nobody_up_for_long(tmp_path, monkeypatch):
    from optuna.storages.journal import _file

    from accord.study.ranges import Range
    from accord.study.search_config import SearchSection

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

        def sleep(self, seconds):
            assert self.now < 30  # else it would wait for ever
            self.now += seconds

    section = SearchSection(objective="x", direction="maximize")
    trials = Trials(tmp_path, "s", section, [Range(("x",), "x", Interval(low=0, high=9))])
    left = tmp_path / "trials" / "optuna.log.lock"
    left.touch()
    monkeypatch.setattr(_file, "time", clock := Clock())
    with trials.claim(1) as claim:
        assert claim.number == 0 and clock.now >= 10
    assert not left.exists()


def test_what_was_recorded_of_a_trial_is_what_counts(tmp_path, caplog):
    from accord.study.ranges import Range
    from accord.study.search_config import SearchSection

    section, ranges = SearchSection(objective="x", direction="maximize"), [Range(("x",), "x", Interval(low=0, high=9))]
    trials = Trials(tmp_path, "s", section, ranges)
    for value in (0.25, 0.5):
        with trials.claim(2) as claim:
            claim.folder.mkdir()
            trials.finish(claim, value)
    record = tmp_path / "trials" / "0001" / "trial.json"
    for damaged in (record.read_text().replace("0.5", "9.5"), record.read_text()[:-20]):
        record.write_text(damaged)
        assert [trial.value for trial in trials.finished()] == [0.25]
        with trials.claim(2) as claim:  # it is gone on with
            assert claim.number == 1
            trials.finish(claim, 0.5)
        assert [trial.value for trial in trials.finished()] == [0.5, 0.25] and "trial.json is damaged" in caplog.text
    journal = tmp_path / "trials" / "optuna.log"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([lines[0], lines[1][:9], "\n", *lines[2:]]))
    with pytest.raises(AccordError, match="list of trials is damaged") as caught:
        Trials(tmp_path, "s", section, ranges)
    assert str(journal) in str(caught.value)


def test_other_folders_are_left_alone(run, made, tmp_path, quick):
    run(trials=1)
    wider = STUDY.replace("high = 1e-2", "high = 1e-1")
    with pytest.raises(AccordError, match=r"other settings.\n.*\n +got: +concepts.0.training.lr.high\n"):
        run(wider, 1)
    with pytest.raises(AccordError, match=r"got: +text.max_tokens\n"):
        run(STUDY.replace("max_tokens = 200", "max_tokens = 150"), 1)
    run(
        STUDY.replace("# the dictionary", "# as it was").replace("size = 8\n", "size = 16\n"), 1
    )  # nothing that matters
    assert "# as it was" in (tmp_path / "runs/s/study.toml").read_text()
    plain = STUDY.split("[[concepts]]")[0]
    (made / "plain.toml").write_text(plain)
    with pytest.raises(AccordError, match="holds a search"):
        engine.run(made / "plain.toml", Path("runs/s"), console=Console(file=io.StringIO()), only=["embeddings"])
    engine.run(made / "plain.toml", Path("runs/plain"), console=Console(file=io.StringIO()), only=["embeddings"])
    with pytest.raises(AccordError, match="not the folder of a search"):
        run(STUDY, 1, Path("runs/plain"))


def test_another_search_replaces_the_trials_where_it_is_told_to(run, made, tmp_path, quick):
    run(trials=2)
    wider = STUDY.replace("high = 1e-2", "high = 1e-1")
    with lock((tmp_path / "runs/s/trials/0001").resolve()), pytest.raises(AccordError, match="Another accord process"):
        run(wider, 1, replace=True)
    assert len(run(trials=2)) == 2  # nothing was removed
    assert len(run(wider, 1, replace=True)) == 1
    assert [path.name for path in sorted((tmp_path / "runs/s/trials").glob("0*"))] == ["0000"]
    assert len(run(wider, 1)) == 1


def test_a_range_whose_end_cannot_fit_is_refused_before_the_first_trial(run, tmp_path, monkeypatch, quick):
    monkeypatch.setattr("accord.study.capacity.free_memory", lambda device: 2 * 10**6)
    with pytest.raises(AccordError, match=r"concepts/sae-s0 needs about .* of memory, 2.0 MB are free"):
        run(STUDY.replace("high = 32", "high = 1_000_000").replace(", step = 8", ""))
    assert not (tmp_path / "runs").exists()


def test_metrics_are_those_that_the_stages_write(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = STUDY.split("[[concepts]]")[0].replace("[0, 1]", "[0]")
    text += '[[concepts]]\nkind = "topk"\nsize = 8\nk = 2\ntraining = { steps = 2, batch = 16 }\n'
    text += '[[heads]]\nkind = "new"\nreads = "latents"\ntraining = { steps = 2, batch = 16 }\n'
    text += '[perplexity]\njudge = "model"\nsamples = 2\nmax_new_tokens = 5\nown_texts = 2\n'
    (made / "all.toml").write_text(text)
    engine.run(made / "all.toml", console=Console(file=io.StringIO()), only=["perplexity"])
    for kind in ("concepts", "heads", "perplexity"):
        for path in (tmp_path / "runs/s").glob(f"{kind}/*/metrics.json"):
            metrics = json.loads(path.read_text())
            numbers = {name for name, value in metrics.items() if not isinstance(value, str)}
            named, of_labels = set(objective.metrics()[kind]), {"accuracy", "accuracy_rest"}  # of supervised alone
            assert named - of_labels <= numbers | {"own_perplexity"}
            about = {"layer", "seed", "n", "concepts", "own_perplexity"}
            assert numbers - about <= named


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("low = 8, high = 32", "low = 32, high = 8", 17, ["key size", "low below high"]),
        ("low = 8, high = 32, step = 8", "low = 8, high = 9.5, step = -1", 17, ["a step above 0"]),
        ("low = 8, high = 32, step = 8", "low = 8, high = 32, steps = 8", 17, ["Unknown key", "did you mean 'step'?"]),
        ("low = 8, high = 32, step = 8", 'low = "8", high = 32', 17, ["a number", "smallest value"]),
        ("low = 8, high = 32, step = 8", "low = 0, high = 32, log = true", 17, ["low above 0"]),
        ("low = 8, high = 32, step = 8", "low = 8.5, high = 32.5", 17, ["key size", "valid integer"]),
        ("low = 8, high = 32, step = 8", "low = 0, high = 32", 17, ["key size", "1 or more"]),
        ('["topk", "batchtopk"]', '["topk", "topk"]', 16, ["choices that differ"]),
        ('["topk", "batchtopk"]', '["topk", { a = 1 }]', 16, ["strings, numbers"]),
        ('["topk", "batchtopk"]', '["topk", "batchtopj"]', 16, ["did you mean 'batchtopk'?"]),
        ('name = "s"', 'name = { choices = ["s", "t"] }', 2, ["no range here"]),
        ("concepts/sae:r2", "concepts/sea:r2", 27, ["[search], key objective", "did you mean 'concepts/sae'?"]),
        ("concepts/sae:r2", "concepts/sae:r2_hrd", 27, ["no such metric", "did you mean 'r2_hard'?"]),
        ("concepts/sae:r2", "concepts/sae", 27, ["no such metric", "concepts/sae:METRIC"]),
        ("concepts/sae:r2", "concepts/l1:r2", 27, ["No range touches"]),
        ('"maximize"', '"maximise"', 28, ["did you mean 'maximize'?"]),
        ("texts.txt", "text.txt", 10, ["no such source"]),
        (STUDY[STUDY.index("[search]") :], "", "", ["does not say what is sought"]),
    ],
)
def test_mistakes_are_told_before_any_work(run, made, tmp_path, monkeypatch, old, new, line, words):
    assert old in STUDY
    monkeypatch.setattr("accord.lm.load", None)
    with pytest.raises(AccordError) as caught:
        run(STUDY.replace(old, new, 1))
    message = str(caught.value)
    assert f"study.toml:{line}" in message or not line, message
    for word in words:
        assert word in message, message
    assert not (tmp_path / "runs").exists()


def test_ranges_and_plain_studies_are_told_apart(made):
    (made / "study.toml").write_text(STUDY)
    with pytest.raises(AccordError, match="accord search") as caught:
        load(made / "study.toml")
    assert "study.toml:16, [[concepts]] number 1, key kind" in str(caught.value)
    (made / "study.toml").write_text('name = "s"\nbackbone.model = "model"\n')
    with pytest.raises(AccordError, match="no range"):
        search_file.load(made / "study.toml")
    (made / "study.toml").write_text(STUDY.replace("k = 2", "[concepts.k]\nlow = 1\nhigh = 2\n[concepts.x]"))
    with pytest.raises(AccordError, match="inline table"):
        search_file.load(made / "study.toml")


def test_an_end_may_need_company(made):
    """k above the smallest size is no mistake: it fits the largest."""
    text = STUDY.replace("k = 2", "k = { low = 2, high = 20 }")
    (made / "study.toml").write_text(text)
    assert len(search_file.load(made / "study.toml").ranges) == 4
    (made / "study.toml").write_text(text.replace("high = 20", "high = 40"))
    with pytest.raises(AccordError, match="larger than size"):
        search_file.load(made / "study.toml")


def test_the_command(made, tmp_path, monkeypatch, quick):
    monkeypatch.chdir(tmp_path)
    (made / "study.toml").write_text(STUDY.replace("high = 1e-2", "high = 1e-3"))
    done = CliRunner().invoke(cli.app, ["search", str(made / "study.toml"), "--trials", "2", "--out", "out"])
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["trial", "objective", "kind", "size", "lr"]
    assert len(lines) == 4 and lines[3] == str(Path("out") / "best.toml")
    values = [float(line.split()[1]) for line in lines[1:3]]
    assert values == sorted(values, reverse=True)


def test_paths_and_odd_spellings_in_the_best_file(made, tmp_path):
    text = STUDY.replace('source = "texts.txt"', "source = 'texts.txt' # \"model\"")
    text = text.replace("{ choices = [", "{ 'choices' = [ # }\n", 1).replace('"batchtopk"] }', '"batchtopk",\n] }')
    (made / "study.toml").write_text(text)
    file = search_file.load(made / "study.toml")
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    ready = file.ready({"kind": "topk", "size": 16, "lr": 1e-3}, folder, "t")
    (folder / "x.toml").write_text(ready)
    study_file = load(folder / "x.toml")
    assert study_file.beside(study_file.study.backbone.model).resolve() == (made / "model").resolve()
    assert study_file.beside(study_file.study.text.source).resolve() == (made / "texts.txt").resolve()
    assert '# "model"' in ready and (study_file.study.name, study_file.study.concepts[0].size) == ("t", 16)


PATHS = """
name = "s"
backbone = { model = "model", device = "cpu" }
text = { source = "texts/*.txt" }  # a pattern
perplexity.judge = "judge"
search = { objective = "concepts/topk:r2", direction = "maximize" }

[[gap]]
task = "own.toml"
data = "pairs.tsv"
[[gap]]
task = "model"  # a name, though there is a folder that is called the same

[tasks.model]
data = "mine.csv"  # keep
generator = "{a}"
validator = "{a} {b}"
answer = "b"
gold = "c"

[[concepts]]
kind = "topk"
size = { low = 8, high = 32 }
k = 4
[[concepts]]
kind = "imported"
source = "dictionary"

[[repair]]
kind = "sft"
task = "own.toml"
data = "pairs.tsv"

[verdict]
tasks = [
  "hypernymy",
  "own.toml",  # by file
]
[damage]
texts = "texts"
judge = "judge"
tasks = ["own.toml", "/absolute/other.toml"]

[names]
annotator = { kind = "transformers", model = "annotator" }

[steering]
judge = "far/away"
"""
MOVED = {
    ("backbone", "model"): "model",
    ("text", "source"): "texts/*.txt",
    ("perplexity", "judge"): "judge",
    ("gap", 0, "task"): "own.toml",
    ("gap", 0, "data"): "pairs.tsv",
    ("tasks", "model", "data"): "mine.csv",
    ("concepts", 1, "source"): "dictionary",
    ("repair", 0, "task"): "own.toml",
    ("repair", 0, "data"): "pairs.tsv",
    ("verdict", "tasks", 1): "own.toml",
    ("damage", "texts"): "texts",
    ("damage", "judge"): "judge",
    ("damage", "tasks", 0): "own.toml",
    ("names", "annotator", "model"): "annotator",
}
KEPT = {
    ("gap", 1, "task"): "model",
    ("verdict", "tasks", 0): "hypernymy",
    ("damage", "tasks", 1): "/absolute/other.toml",
    ("steering", "judge"): "far/away",  # nothing of this name is here: it is on the hub
}


def test_a_trial_s_study_leads_to_the_same_files_whatever_the_section(tmp_path):
    for folder in ("model", "judge", "texts", "dictionary", "annotator", "hypernymy"):
        (tmp_path / folder).mkdir()
    for file in ("own.toml", "pairs.tsv", "mine.csv", "texts/a.txt"):
        (tmp_path / file).touch()
    (tmp_path / "study.toml").write_text(PATHS)
    folder = tmp_path / "runs" / "s" / "trials" / "0000"
    folder.mkdir(parents=True)
    text = search_file.load(tmp_path / "study.toml").ready({"size": 16}, folder, "t")
    content = tomllib.loads(text)
    for place, path in MOVED.items():
        value = value_at(content, place)
        assert value == f"../../../../{path}", place
    for place, value in KEPT.items():
        assert value_at(content, place) == value
    assert all(word in text for word in ("# a pattern", "# keep", "# by file", "# a name, though"))
    (folder / "study.toml").write_text(text)
    assert load(folder / "study.toml").study.concepts[0].size == 16


def test_every_key_that_may_hold_a_path_says_so():
    """A key whose description speaks of a file or a folder to be read is marked, in every section there is."""

    def keys(model, above=""):
        for name, field in model.model_fields.items():
            yield f"{above}{name}", field
            for inner in models_in(field.annotation):
                yield from keys(inner, f"{above}{name}.")

    words = ("data file", "task files?", "a (local )?folder(?! is given)", "as source of", "Its folder")
    spoken = re.compile(rf"\b({'|'.join(words)})\b|\.gguf file")
    marked = {name for name, field in keys(study_model()) if isinstance(field.json_schema_extra, dict)}
    spoken_of = {name for name, field in keys(study_model()) if spoken.search(field.description or "")}
    assert spoken_of - marked == set() and len(marked) >= 15


def test_all_is_fetched_or_refused_before_the_first_trial(run, tmp_path, monkeypatch):
    """A judge that one choice of a range names, too; mistakes are told before anything is fetched."""
    fetched = []

    def snapshot(name, local_files_only=False, **keys):
        if not local_files_only:
            fetched.append(name)
        raise OSError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    monkeypatch.setattr("accord.lm.load", None)
    text = STUDY.replace("concepts/sae:r2", "perplexity/backbone:judge_mean")
    text += '[perplexity]\nsamples = 2\njudge = { choices = ["model", "org/judge"] }\n'
    with pytest.raises(AccordError, match="could not be fetched"):
        run(text)
    assert set(fetched) == {"org/judge"} and not (tmp_path / "runs").exists()
    fetched.clear()
    with pytest.raises(AccordError, match="no such source"):
        run(text.replace("texts.txt", "text.txt"))
    assert fetched == []


def test_models_are_loaded_once_for_all_trials(run, monkeypatch, quick):
    loaded, load_model = [], work.load
    monkeypatch.setattr(work, "load", lambda section: loaded.append(section.model) or load_model(section))
    run()
    assert len(loaded) == 1
