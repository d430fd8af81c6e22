"""A study from texts to judged perplexity: every stage, what a change redoes, and what a kill leaves."""

import io
import json

import pandas as pd
import pytest
from rich.console import Console
from tests.study.said import stages_made
from tests.tiny import tiny_model, tiny_tokenizer
from typer.testing import CliRunner

import accord
from accord import cli
from accord.concepts import train
from accord.errors import AccordError
from accord.heads.rows import all_rows, known_rows
from accord.perplexity import stage as perplexity
from accord.study import engine, plan_study
from accord.study.config import load

STUDY = """\
name = "s"
seeds = [0, 1]

[backbone]
model = "model"
device = "cpu"

[text]
source = "texts.txt"
max_tokens = 250
held_out_tokens = 120

[[concepts]]
kind = "topk"
size = 24
k = 4
training = { steps = 12, batch = 64, checkpoint_every = 4, evaluate_every = 6 }

[[concepts]]
name = "gates"
kind = "lcblm"
concepts = 6
width = 3
prior = 0.3
layers = [2]
training = { epochs = 1.5, batch = 64 }

[perplexity]
judge = "judge"
samples = 3
max_new_tokens = 6
own_texts = 4
"""
USUAL = ["latents-new", "reconstruction-original", "reconstruction-new"]
ROWS = ["finetuned", "new", *(f"topk-{row}" for row in USUAL), *(f"gates-{row}-L2" for row in USUAL)]
HEADS = """
[[heads]]
kind = "new"
reads = "latents"
vocabulary = "observed"
concepts = "topk"
training = { steps = 4, batch = 32, patience = 1 }

[[gap]]
task = "pairs.toml"
model = "topk-latents-new"
split = "all"
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a model, a judge, texts, a task and a study."""
    folder = tmp_path_factory.mktemp("study")
    for name, family in (("model", "llama"), ("judge", "gpt2")):
        tiny_model(family).save_pretrained(folder / name)
        tiny_tokenizer(bos=family == "llama").save_pretrained(folder / name)
    words = ["food", "bird", "kind", "of", "are", "yes", "no"]
    lines = [" ".join(words[(i * j + j) % 7] for j in range(3, 8)) + f" {i}" for i in range(40)]
    (folder / "texts.txt").write_text("\n".join(lines) + "\n\n")
    rows = [f"{a},{b},{'yes' if a[0] == b[0] else 'no'}" for a in ("ant", "bee") for b in ("ape", "bat")]
    (folder / "pairs.csv").write_text("\n".join(["one,two,same", *rows]) + "\n")
    (folder / "pairs.toml").write_text(
        'data = "pairs.csv"\ngenerator = "{One} is a"\nvalidator = "Is {one} a {two}?"\nanswer = "two"\ngold = "same"\n'
    )
    return folder


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    """Write a study beside the model and run it below `tmp_path`; which stages it made, in order."""
    monkeypatch.chdir(tmp_path)

    def run(text, only=(), out=None, replace=False):
        path = made / "study.toml"
        path.write_text(text)
        shown = io.StringIO()
        engine.run(path, out, console=Console(file=shown, width=200), only=only, replace=replace)
        return stages_made(shown.getvalue())

    return run


def short(text):
    """The same study with heads that train briefly, spelled out."""
    training = "training = { steps = 4, batch = 32 }\n"
    heads = [("finetuned", "embedding"), ("new", "embedding"), ("new", "latents"), ("new", "reconstruction")]
    sections = [f'[[heads]]\nkind = "{kind}"\nreads = "{reads}"\n{training}' for kind, reads in heads]
    return text + "\n" + "\n".join([*sections, '[[heads]]\nkind = "original"\n'])


def metrics(folder):
    """All metrics below a run folder, without what the clock says."""
    tables = {}
    for path in sorted(folder.rglob("metrics.json")):
        table = json.loads(path.read_text())
        table.pop("seconds", None)
        tables[str(path.parent.relative_to(folder))] = table
    return tables


def stop_at(call, function):
    """The function, stopped at this call."""
    calls = []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return function(*arguments)

    return stopping


def test_a_whole_study(run, tmp_path, monkeypatch):
    done = run(short(STUDY))
    folder = tmp_path / "runs" / "s"
    names = {path.name for path in (folder / "figures").iterdir()}
    assert {"sparsity.svg", "sparsity.png", "perplexity.svg", "head-training.png"} <= names
    assert "How well they reconstruct" in (folder / "report.html").read_text()
    tables = metrics(folder)
    seeds = (0, 1)
    models = ["heads/backbone", *(f"heads/{row}-s{seed}" for seed in seeds for row in ROWS)]
    judged = [f"perplexity/{row}-s{seed}" for seed in seeds for row in ["backbone", "random", *ROWS]]
    concepts = [f"concepts/{name}-s{seed}" for seed in seeds for name in ("topk", "gates-L2")]
    assert tables.keys() == {*models, *judged, *concepts}
    assert len(done) == 1 + len(concepts) + len(models) + 2 * len(judged)
    for name in concepts:
        assert {"r2", "fvu", "r2_hard", "l0", "alive", "ce_recovered", "parameters"} <= tables[name].keys()
        assert sorted(path.name for path in (folder / name).iterdir()) == [
            "config.json", "curve.jsonl", "manifest.json", "metrics.json", "weights.safetensors",
        ]  # fmt: skip
    for name in models:
        assert tables[name]["held_out_ce"] > 0 and tables[name]["unigram_ce"] > 0
    for name in judged:
        judged_row = tables[name]
        assert judged_row["n"] == 3 and judged_row["judge"] == "judge"
        assert (judged_row["own_perplexity"] is None) == (judged_row["row"] == "random")
    texts = [
        json.loads(line) for line in (folder / "texts/gates-latents-new-L2-s1/texts.jsonl").read_text().splitlines()
    ]
    assert [text["index"] for text in texts] == [0, 1, 2] and texts[0]["row"] == "gates-latents-new"
    corpus = json.loads((folder / "embeddings/corpus.json").read_text())
    kept = pd.read_parquet(folder / "embeddings/train_texts.parquet")
    assert corpus["train_tokens"] == 250 and 0 < len(kept) < corpus["texts"] == 40

    monkeypatch.setattr("accord.lm.load", None)  # a rerun must not load weights
    assert run(short(STUDY)) == []


def test_the_usual_rows_come_without_heads(made):
    (made / "study.toml").write_text(STUDY)
    study = load(made / "study.toml").study
    assert [row.label for row in all_rows(study)] == ["backbone", *ROWS]
    assert {"random", "gates-latents-new", "gates-latents-new-L2"} <= set(known_rows(study))
    few = STUDY.replace("samples = 3", 'rows = ["backbone", "gates-latents-new"]')
    (made / "study.toml").write_text(few)
    assert [row.label for row in all_rows(load(made / "study.toml").study)] == ["backbone", "gates-latents-new-L2"]


def test_a_change_redoes_what_depends_on_it(run, tmp_path):
    text = STUDY.replace("[0, 1]", "[0]") + HEADS
    stages = run(text)
    assert stages[stages.index("heads/topk-latents-new-s0") + 1] == "gap/pairs-all-topk-latents-new"
    judged = ["perplexity/backbone-s0", "perplexity/topk-latents-new-s0", "perplexity/random-s0"]
    assert run(text.replace("own_texts = 4", "own_texts = 3"), replace=True) == judged
    assert run(text.replace("own_texts = 4", "own_texts = 3").replace("k = 4", "k = 5"), replace=True) == [
        "concepts/topk-s0",
        "heads/topk-latents-new-s0",
        "gap/pairs-all-topk-latents-new",
        "texts/topk-latents-new-s0",
        "perplexity/topk-latents-new-s0",
    ]
    assert run(text.replace("own_texts = 4", "own_texts = 3"), only=["concepts", "heads"], replace=True) == [
        "concepts/topk-s0",
        "heads/topk-latents-new-s0",
    ]
    row = tmp_path / "runs" / "s" / "heads" / "topk-latents-new-s0"
    assert not (row / "checkpoints").exists()
    assert accord.load(row, device="cpu").n_layers == 3


def test_the_folder_of_a_row_is_a_model_for_every_command(run, made, tmp_path, monkeypatch):
    run(STUDY.replace("[0, 1]", "[0]") + HEADS, only=["concepts", "heads"])
    row = tmp_path / "runs" / "s" / "heads" / "topk-latents-new-s0"
    monkeypatch.chdir(made)
    words = ["gap", "--model", row, "--task", "pairs.toml", "--split", "all", "--out", tmp_path / "gap"]
    done = CliRunner().invoke(cli.app, list(map(str, words)))
    assert done.exit_code == 0 and "Label words get" in done.stdout, done.stderr
    again = CliRunner().invoke(cli.app, list(map(str, words)))
    assert "up to date" in again.stderr


def in_training(patch):
    """At step 9 of 12, after a checkpoint at step 8."""
    patch.setattr(train._Trainer, "update", stop_at(9, train._Trainer.update))


def in_writing(patch):
    """In the second of two parts."""
    patch.setattr(perplexity, "_PART", 2)
    patch.setattr(perplexity, "_by_model", stop_at(2, perplexity._by_model))


@pytest.mark.parametrize("kill", [in_training, in_writing])
def test_a_killed_run_ends_with_the_same_numbers(run, tmp_path, monkeypatch, kill):
    text = STUDY.replace("[0, 1]", "[0]") + HEADS
    with monkeypatch.context() as patch:
        kill(patch)
        with pytest.raises(KeyboardInterrupt):
            run(text)
    if kill is in_writing:  # texts that are judged together may differ in a last bit from texts that are not
        monkeypatch.setattr(perplexity, "_PART", 2)
    run(text)
    run(text, out=tmp_path / "straight")
    assert metrics(tmp_path / "runs" / "s") == metrics(tmp_path / "straight")


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('kind = "topk"', 'kind = "topj"', 14, ["[[concepts]] number 1, key kind", "did you mean 'topk'?"]),
        ("k = 4", "k = 40", 13, ["[[concepts]] number 1", "larger than size"]),
        ("k = 4", "j = 4", 16, ["[[concepts]] number 1, key j", "Unknown key", "aux_weight"]),
        ("size = 24", 'size = "24"', 15, ["key size", "valid integer", "Number of concepts"]),
        ("steps = 12", "stepz = 12", 17, ["key training.stepz", "did you mean 'steps'?"]),
        ("steps = 12", "seed = 12", 17, ["no seed here"]),
        ("layers = [2]", 'layers = ["first"]', 25, ["key layers", '"last", a layer from 0']),
        ("layers = [2]", "layers = [9]", 25, ["No such layer", "0 to 3"]),
        ('name = "gates"', 'name = "TopK"', 19, ["same name"]),
        ('source = "texts.txt"', 'source = "text.txt"', 9, ["no such source", "movie-reviews"]),
        ('source = "texts.txt"', 'source = "texts.txt"\nsplit = "x"', 10, ["key split", "hub"]),
        ('judge = "judge"', 'judge = "judg"', 29, ["[perplexity], key judge", "no such model"]),
        ("own_texts = 4", 'rows = ["topk-latent-new"]', 32, ["did you mean 'topk-latents-new'?"]),
        ("own_texts = 4", "rows = 3", 32, ["key rows", '"all" or a list']),
        ("[text]", "[tex]", 8, ["did you mean 'text'?"]),
        ('[text]\nsource = "texts.txt"\nmax_tokens = 250\nheld_out_tokens = 120\n', "", 9, ["needs texts"]),
        ("[perplexity]", '[[heads]]\nkind = "new"\nconcepts = "gate"\n[perplexity]', 30, ["did you mean 'gates'?"]),
        ("[perplexity]", '[[heads]]\nkind = "original"\nreads = "latents"\n[perplexity]', 30, ["reads", "embedding"]),
        ("[0, 1]", "[0, 0]", 2, ["key seeds", "twice"]),
        ("[0, 1]", "[0, -1]", 2, ["key seeds, number 2", "0 or more", "-1"]),
        (
            "[perplexity]",
            '[[gap]]\ntask = "hypernymy"\nmodel = "topk"\n[perplexity]',
            30,
            ["no such model", "topk-latents-new"],
        ),
    ],
)
def test_mistakes_are_told_with_their_place(made, old, new, line, words):
    assert old in STUDY
    path = made / "wrong.toml"
    path.write_text(STUDY.replace(old, new, 1))
    with pytest.raises(AccordError) as caught:
        plan_study(load(path))
    message = str(caught.value)
    assert f"wrong.toml:{line}" in message, message
    for word in words:
        assert word in message


def test_single_models_from_the_command_line(made, monkeypatch):
    monkeypatch.chdir(made)
    invoke = CliRunner().invoke
    done = invoke(cli.app, ["generate", "--model", "model", "-n", "2", "--tokens", "3", "--prompt", "A bee"])
    assert done.exit_code == 0 and done.stdout.count("A bee") == 2
    done = invoke(cli.app, ["perplexity", "--model", "model", "--data", "texts.txt", "--limit", "5"])
    assert done.exit_code == 0 and "token_weighted" in done.stdout
    assert invoke(cli.app, ["generate"]).exit_code == invoke(cli.app, ["perplexity", "--model", "model"]).exit_code == 1
