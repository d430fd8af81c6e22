"""The graph of a study: its order, what changed, what is missing; capabilities and kinds that are added run in it."""

import io
import json
import shutil
from itertools import count

import pytest
from rich.console import Console
from tests import toy_kinds
from tests.tiny import tiny_hub_folder, tiny_texts
from tests.toy_capability.result import Letters

import accord
from accord import capabilities
from accord.concepts import config as concepts
from accord.concepts.result import ConceptMetrics
from accord.errors import AccordError
from accord.repair import config as repair
from accord.study import engine, load, objective, plan_study
from accord.study.graph import Graph, in_order, why
from accord.study.plan import Plan, planned_once
from accord.study.preview import dry_run
from accord.study.stage import Stage
from accord.study.store import publish
from accord.study.work import Models

TOP = """\
name = "s"

[backbone]
model = "model"
device = "cpu"
"""
TEXT = """
[text]
source = "texts.txt"
max_tokens = 200
held_out_tokens = 80
"""
CONCEPTS = """
[[concepts]]
kind = "topk"
size = 16
k = 4
training = { steps = 4, batch = 32 }
"""
REPAIR = """
[[repair]]
kind = "calibrate"
validator_shots = "zero"
limit = 16
positions = 20
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a model, a judge and texts."""
    folder = tmp_path_factory.mktemp("graph")
    for name in ("model", "judge"):
        tiny_hub_folder(folder / name)
    (folder / "texts.txt").write_text("\n".join(tiny_texts()))
    return folder


@pytest.fixture
def planned(made):
    """Plan a study of this text beside the model."""

    def planned(text, **options):
        (made / "planned.toml").write_text(TOP + text)
        return plan_study(load(made / "planned.toml"), **options)

    return planned


@pytest.fixture
def run(made, tmp_path):
    """Run a study of this text beside the model; what was said of each stage."""

    def run(text, replace=False):
        (made / "run.toml").write_text(TOP + text)
        stages = plan_study(load(made / "run.toml"), fetch=True).stages
        reasons = {stage.name: why(stage, tmp_path / "run" / stage.name) for stage in stages}
        engine.run(made / "run.toml", tmp_path / "run", console=Console(file=io.StringIO()), replace=replace)
        return reasons

    return run


def stage(name, *inputs, settings=None, seed=0, version=1, kind="one"):
    return Stage(kind, name, writes, settings or {}, seed, version, {source.label: source for source in inputs})


def writes(work):
    (work.folder / "result.txt").write_text("done")


def test_inputs_come_first_and_else_the_order_of_the_list():
    a, b = stage("a"), stage("b")
    c = stage("c", b)
    d = stage("d", c, a)
    assert [node.label for node in in_order([d, a, c, b])] == ["a", "b", "c", "d"]
    assert [node.label for node in in_order([b, a])] == ["b", "a"]
    graph = Graph([a, b, c, d], {})
    assert graph.upstream([c]) == [b, c] and graph.upstream([d]) == [a, b, c, d]
    assert list(d.upstream()) == [b, c, a, d]
    with pytest.raises(AssertionError, match="same folder"):
        list(in_order([a, stage("a")]))
    with pytest.raises(AssertionError, match=r"no capability gives .*b, which others are made from"):
        list(in_order([c]))


def test_what_is_upstream_of_many_is_visited_once():
    """Each stage of a ladder has the one below as two inputs: paths through it are two to the forty."""
    below = stage("0")
    for i in range(1, 41):
        below = Stage("one", str(i), writes, {}, 0, 1, {"left": below, "right": below})
    assert len(list(below.upstream())) == 41


def test_why_names_what_changed(tmp_path):
    base = stage("base", settings={"k": 1})
    first = stage("a", base, settings={"training": {"steps": 4, "words": ("x", "y")}, "k": 2})
    at = lambda node: tmp_path / node.name  # noqa: E731
    for node in (base, first):
        assert why(node, at(node)) == "to do"
        publish(node, at(node), at=at, models=Models())
        assert why(node, at(node)) == "up to date"

    def said(*inputs, **changes):
        usual = {"settings": first.settings, "seed": 0, "version": 1}
        return why(stage("a", *inputs, **{**usual, **changes}), at(first))

    settings = {"training": {"steps": 5, "words": ("x", "y")}, "k": 2}
    assert said(base, settings=settings) == "training.steps (4 → 5) changed, to do again"
    assert said(base, settings={**first.settings, "new": 1}) == "new changed, to do again"
    assert said(base, seed=3) == "seed (0 → 3) changed, to do again"
    assert said(base, version=2) == "accord's own version of this stage changed, to do again"
    assert said(stage("base", settings={"k": 2})) == "its base changed, to do again"
    assert said() == "its base changed, to do again"  # it is made of nothing now
    many = {"training": {"steps": 5, "words": ("z",)}, "k": 3, "other": 1}
    assert said(base, settings=many).endswith("k (2 → 3) and more changed, to do again")
    (at(first) / "result.txt").write_text("changed")
    assert why(first, at(first)) == "files gone or changed, to do again"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    assert why(first, tmp_path / "mine") == "there is something that accord did not write"


def test_a_template_that_writes_another_day_is_told_apart_from_other_inputs(tmp_path):
    settings = {"task": {"chat": {"rendered": "monday", "turns": True}}}
    base = stage("base", settings={"k": 1})
    old = stage("a", base, settings=settings)
    for one in (base, old):
        publish(one, tmp_path / one.label, at=lambda source: tmp_path / source.label, models=Models())
    later = {"task": {"chat": {"rendered": "tuesday", "turns": True}}}
    assert why(stage("a", base, settings=later), tmp_path / "a").startswith("what the chat template writes")
    other = stage("base", settings={"k": 2})
    assert why(stage("a", other, settings=settings), tmp_path / "a") == "its base changed, to do again"
    assert "its base" in why(stage("a", other, settings=later), tmp_path / "a")


def test_a_folder_of_an_earlier_format_is_redone_once_with_a_plain_reason(run, tmp_path):
    assert run(TEXT) == {"embeddings": "to do"}
    path = tmp_path / "run" / "embeddings" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["inputs"]
    del manifest["digest"]
    path.write_text(json.dumps({**manifest, "fingerprint": "0" * 64}))
    (tmp_path / "run" / "run.json").unlink()
    with pytest.raises(AccordError, match="accord's own format"):
        run(TEXT)
    assert run(TEXT, replace=True) == {"embeddings": "accord's own format changed, to do again"}
    assert run(TEXT) == {"embeddings": "up to date"}


@pytest.fixture
def offline(monkeypatch):
    """Whatever would fetch fails the test, or answers "not there" where it is asked what the cache holds."""

    def snapshot(*args, local_files_only=False, **keys):
        if not local_files_only:
            pytest.fail("this would fetch")
        raise OSError("not cached")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    monkeypatch.setattr("accord.lm.catalog.install", lambda *args, **keys: pytest.fail("this would fetch"))
    for name in ("texts_file", "fetch_data"):
        monkeypatch.setattr(f"accord.text.sources.{name}", lambda *args: pytest.fail("this would fetch"))
    monkeypatch.setattr("accord.text.sources.is_cached", lambda: False)
    monkeypatch.setattr("accord.concepts.dictionaries._fetch", lambda *args: pytest.fail("this would fetch"))


def test_what_is_not_here_is_listed_and_nothing_is_fetched(planned, made, offline):
    text = TEXT.replace("texts.txt", "org/texts") + REPAIR
    text += '[[concepts]]\nkind = "imported"\nsource = "org/dictionary/layer_2"\n'
    text += '[perplexity]\njudge = "org/judge"\n[damage]\njudge = "org/reader"\ntexts = "movie-reviews"\n'
    text += '[names]\nannotator = { kind = "transformers", model = "org/annotator" }\n'
    graph = planned(text)
    assert graph.missing == {
        "org/texts": "texts",
        "org/dictionary/layer_2": "a dictionary",
        "org/judge": "a model",
        "org/reader": "a model",
        "org/annotator": "a model",
        "movie-reviews": "texts",
    }
    assert {"embeddings", "perplexity/backbone-s0", "damage/calibrate-s0"} <= {stage.name for stage in graph.stages}
    (made / "far.toml").write_text((TOP + text).replace('model = "model"', 'model = "org/backbone"'))
    graph = plan_study(load(made / "far.toml"))
    assert graph.missing["org/backbone"] == "a model" and len(graph.missing) == 7
    dry = dry_run(made / "far.toml", made / "nowhere")
    assert ("org/backbone", "a model") in {(download.name, download.what) for download in dry.downloads}
    assert ("embeddings", "to do") in {(stage.name, stage.why) for stage in dry.to_do}


@pytest.mark.parametrize(
    "text",
    [
        TEXT + '[perplexity]\nrows = ["backbone"]\njudge = "org/judge"\n',
        TEXT.replace("texts.txt", "org/texts"),
        REPAIR + '[damage]\njudge = "org/judge"\ntexts = "texts.txt"\n',
    ],
)
def test_what_cannot_be_fetched_ends_a_run_before_its_first_stage(run, tmp_path, monkeypatch, text):
    def fails(*args, **keys):
        raise OSError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fails)
    monkeypatch.setattr("accord.text.hub._splits", lambda source: (_ for _ in ()).throw(AccordError("offline")))
    with pytest.raises(AccordError, match=r"run.toml:"):
        run(text)
    assert not (tmp_path / "run").exists()


def test_a_run_builds_each_task_once(made, tmp_path, monkeypatch):
    """Also where it is planned twice: to find mistakes, then to fetch."""
    from accord.study import plan

    built = []
    make_task = plan.make_task
    monkeypatch.setattr(
        plan, "make_task", lambda *args, **keys: built.append(str((args, keys))) or make_task(*args, **keys)
    )
    kept = {}
    (made / "once.toml").write_text(TOP + REPAIR)
    first = plan_study(load(made / "once.toml"), kept=kept)
    assert built and len(set(built)) == len(built)
    count = len(built)
    second = plan_study(load(made / "once.toml"), fetch=True, kept=kept)
    assert len(built) == count
    prints = [[stage.recipe.fingerprint for stage in graph.stages] for graph in (first, second)]
    assert prints[0] == prints[1]


def test_ordinary_text_is_that_of_the_study_where_it_has_some(planned, offline):
    """Of repairs and of damage; `[damage] texts` goes before it, and without either it is the reviews."""

    def texts(text):
        graph = planned(text)
        [made] = [stage for stage in graph.stages if stage.kind == "repair"]
        [seen] = [stage for stage in graph.stages if stage.kind == "observation"]
        assert made.settings["texts"] == seen.settings["texts"]
        return made.settings["texts"], graph.missing

    damage = REPAIR + "[damage]\nfacts = 1\nsamples = 0\n"
    own, missing = texts(TEXT.replace("max_tokens", "held_out = 0.4\nmax_tokens") + damage)
    assert own["source"].startswith("files:") and own["held_out"] == 0.4 and not missing
    named, _ = texts(TEXT + damage + 'texts = "texts.txt"\nheld_out = 0.3\n')
    assert named["source"] == own["source"] and named["held_out"] == 0.3
    assert texts(damage)[1] == {"movie-reviews": "texts"}


def test_a_capability_that_is_listed_runs_and_is_read_back(run, planned, made, tmp_path, monkeypatch):
    with pytest.raises(AccordError, match="Unknown key"):
        planned("[toy]\n" + TEXT)
    monkeypatch.setattr(capabilities, "CAPABILITIES", (*capabilities.CAPABILITIES, "tests.toy_capability"))
    said = run('[toy]\nletter = "o"\n' + TEXT)
    assert said == {"embeddings": "to do", "toy/o": "to do"}
    results = accord.read(tmp_path / "run")
    held_out = results["embeddings"].texts("held_out")
    assert results.of(Letters) == {"o": Letters(sum(text.count("o") for text in held_out))}
    assert results["toy/o"].count > 0 and results.manifests["toy/o"]["inputs"]["embeddings"]["stage"] == "embeddings"
    again = run('[toy]\nletter = "o"\n' + TEXT.replace("held_out_tokens = 80", "held_out_tokens = 60"), replace=True)
    assert again["toy/o"] == "its embeddings changed, to do again"
    graph = planned('[toy]\nletter = "o"\n' + TEXT)
    assert [stage.name for stage in objective.target(graph.stages, "toy/o:count", "here")] == ["toy/o"]


def test_kinds_that_are_registered_run(run, tmp_path, monkeypatch, seldom_answers):
    for register in (concepts.KINDS, repair.KINDS):
        monkeypatch.setitem(register, "toy", None)  # so that it is gone afterwards
        del register["toy"]
    toy_kinds.register()
    text = TEXT + CONCEPTS.replace('"topk"', '"toy"').replace("k = 4\n", "")
    text += '[[repair]]\nkind = "toy"\nlength = 0.5\nvalidator_shots = "zero"\nlimit = 16\n'
    text += "[verdict]\nlimit = 8\nphrasings = false\n"
    assert set(run(text).values()) == {"to do"}
    results = accord.read(tmp_path / "run")
    assert results["concepts/toy-s0"].metrics["kind"] == "toy"
    assert accord.load(tmp_path / "run" / "repair" / "toy-s0", device="cpu").n_layers == 3
    assert results["verdict/toy-s0"].about["kind"] == "toy"
    again = run(text.replace("length = 0.5", "length = 0.25"), replace=True)
    assert again["verdict/toy-s0"] == "its repair changed, to do again"


def test_a_run_is_read_as_the_types_that_wrote_it(run, tmp_path):
    run(TEXT + CONCEPTS)
    results = accord.read(tmp_path / "run")
    assert list(results) == ["embeddings", "concepts/topk-s0"] and results.name == "s"
    assert 'kind = "topk"' in results.study
    metrics = results["concepts/topk-s0"]
    assert isinstance(metrics, ConceptMetrics) and results.of(ConceptMetrics) == {"topk-s0": metrics}
    assert "concepts/topk-s0" in repr(results)
    with pytest.raises(AccordError, match="did you mean 'concepts/topk-s0'"):
        results["concepts/topk-s1"]
    (tmp_path / "run/concepts/topk-s0/metrics.json").write_text('{"r2": ')
    with pytest.raises(AccordError) as caught:
        accord.read(tmp_path / "run")["concepts/topk-s0"]
    assert "metrics.json" in str(caught.value) or "accord check" in str(caught.value)
    shutil.rmtree(tmp_path / "run/embeddings/train")
    with pytest.raises(AccordError):
        accord.read(tmp_path / "run")["embeddings"].store("train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(AccordError, match="no results"):
        accord.read(tmp_path / "empty")


def test_plans_share_nothing_but_what_they_are_given(made):
    (made / "alone.toml").write_text(TOP + REPAIR)
    file = load(made / "alone.toml")
    first, second = Plan(file), Plan(file)
    counted = count(1)
    made_by = planned_once(lambda plan: next(counted))
    assert made_by(first) == made_by(first) == 1 and made_by(second) == 2
    assert first.kept("x", lambda: 1) == 1 and second.kept("x", lambda: 2) == 2


def test_rows_of_several_layers_each_have_the_model_of_their_own(planned):
    head = '[[heads]]\nkind = "finetuned"\nreads = "embedding"\ntraining = { steps = 2, batch = 8 }\n'
    judged = '[perplexity]\njudge = "judge"\nsamples = 2\nmax_new_tokens = 3\nown_texts = 2\n'
    text = TEXT + CONCEPTS + head + '[[heads]]\nkind = "new"\ntraining = { steps = 2, batch = 8 }\n' + judged
    graph = planned("layer = [1, 'last']\n" + text)
    made_by = {stage.name: stage.inputs["model"].name for stage in graph.stages if "model" in stage.inputs}
    texts = {name: model for name, model in made_by.items() if name.startswith("texts/")}
    assert len(texts) == 5 and all(
        model.removeprefix("heads/") in (row := name.removeprefix("texts/"), row.removesuffix("-s0"))
        for name, model in texts.items()
    )


def test_all_that_is_wrong_is_listed_at_once_each_at_its_place(planned):
    wrong = """
[[gap]]
task = "hypernymy"
model = "nobody"
[[repair]]
kind = "calibrate"
task = "nope"
[damage]
texts = "nowhere.txt"
judge = "nojudge"
tasks = ["nope"]
[pathway]
repairs = ["zz"]
concepts = "yy"
[names]
[steering]
[explain]
[perplexity]
judge = "nojudge"
[[heads]]
kind = "new"
concepts = "cc"
"""
    with pytest.raises(AccordError) as caught:
        planned(wrong)
    places = {line.partition(", ")[2] for line in str(caught.value).splitlines() if line.startswith("/")}
    assert places == {
        "[[gap]] number 1, key model",
        "[[repair]] number 1, key task",
        "[damage], key texts",
        "[damage], key judge",
        "key damage",
        "[pathway], key repairs",
        "[pathway], key concepts",
        "key names",
        "key steering",
        "key explain",
        "[perplexity], key judge",
        "key perplexity",
        "key heads",
        "[[heads]] number 1, key concepts",
    }


def test_ordinary_texts_are_looked_at_before_the_first_stage(planned, made):
    (made / "alone.txt").write_text("one text\n")
    for keys, message in (('texts = "texts.txt"\ncolumn = "zz"', "no column"), ('texts = "alone.txt"', "held out")):
        with pytest.raises(AccordError, match=rf"\[damage\], key texts\n(.|\n)*{message}"):
            planned(REPAIR + f"[damage]\n{keys}\n")
    with pytest.raises(AccordError, match="about texts of"):
        planned(TEXT + REPAIR + "[damage]\nheld_out = 0.4\n")


def test_a_repair_that_is_named_twice_is_followed_once(planned):
    graph = planned(REPAIR + '[damage]\ntexts = "texts.txt"\n[pathway]\nrepairs = ["calibrate", "calibrate"]\n')
    assert [stage.name for stage in graph.stages if stage.kind == "pathway"] == ["pathway/calibrate-s0"]
