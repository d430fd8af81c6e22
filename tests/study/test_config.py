"""Every mistake in a study file is told with file, line, table, key, and what would be right."""

import math
import sys
import time
from dataclasses import replace
from typing import get_args

import pytest
from pydantic import ValidationError

from accord.errors import AccordError
from accord.gap.config import GapSection
from accord.lm.config import BackboneSection
from accord.study import plan_study
from accord.study.config import from_options, load, models_in
from accord.study.plan import Plan
from accord.study.root import study_model
from accord.tasks import TASKS, hypernymy, splits

GOOD = """\
name = "s"
seeds = [3, 4]

[backbone]
model = "smollm2-135m"

[[gap]]
task = "hypernymy"
limit = 8

[[gap]]
task = "mine"
validator_shots = "zero"

[tasks.mine]
data = "data/mine.csv"
generator = "The capital of {country} is"
validator = "Is {city} the capital of {country}? Answer:"
answer = "city"
gold = "right"
"""
CSV = "country,city,right\n" + "".join(
    f"{country},{city},{'yes' if country[0] == city[0] else 'no'}\n"
    for country in ("Aland", "Boland", "Coland", "Doland")
    for city in ("Aburg", "Bburg", "Cburg", "Dburg")
)


@pytest.fixture
def study(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.csv").write_text(CSV)

    def write(old="", new=""):
        assert old in GOOD
        path = tmp_path / "s.toml"
        path.write_text(GOOD.replace(old, new, 1))
        return path

    return write


def refused(path):
    with pytest.raises(AccordError) as caught:
        plan_study(load(path))
    return str(caught.value)


def test_a_good_study(study, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))  # paths are relative to the file
    file = load(study())
    first, second = (stage.settings["task"] for stage in plan_study(file).stages)
    assert file.study.seeds == [3, 4]
    assert (first["name"], first["items"], first["seed"]) == ("hypernymy", 8, 3)
    assert (second["name"], second["validator"]["shots"]) == ("mine", "zero")


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("limit = 8", "limt = 8", 9, ["[[gap]] number 1, key limt", "did you mean 'limit'?"]),
        ("limit = 8", 'limit = "8"', 9, ["key limit", "got:    '8'", "valid integer", "At most so many items"]),
        ("limit = 8", "limit = 0", 9, ["key limit", "got:    0", "1 or more"]),
        ('"zero"', '"fwe"', 13, ["number 2, key validator_shots", "'fwe'", "few, zero (did you mean 'few'?)"]),
        ('task = "mine"\n', "", 11, ["[[gap]] number 2, key task", "A key is missing", "`accord tasks`"]),
        ("[backbone]", "[backbon]", 4, ["key backbon", "did you mean 'backbone'?"]),
        ('model = "smollm2-135m"', "", 4, ["[backbone], key model", "missing", "hub id"]),
        ('model = "smollm2-135m"', 'model = "m"\ndevice = "gpu"', 6, ["key device", "'gpu'", "cuda:N"]),
        ('model = "smollm2-135m"', 'model = "m"\ndtype = "fp16"', 6, ["key dtype", "did you mean 'float16'?"]),
        ('name = "s"', 'name = "../s"', 1, ["key name", "'../s'", "letters, digits"]),
        ("[3, 4]", "[]", 2, ["key seeds", "at least 1 item"]),
        ("[3, 4]", '[3, "4"]', 2, ["seeds", "'4'", "valid integer"]),
        ('gold = "right"', 'golf = "right"', 20, ["[tasks.mine], key golf", "did you mean 'gold'?"]),
        ("limit = 8", 'limit = "oh\n', 9, ["not valid TOML"]),
        ("limit = 8", "limit = 8\nlimit = 9", 10, ["not valid TOML", "overwrite"]),
        ("[3, 4]", "[-1]", 2, ["key seeds", "got:    -1", "0 or more"]),
        ("[3, 4]", "3", 2, ["key seeds", "got:    3", "wanted: a list"]),
        (
            "[[gap]]",
            '[[repair]]\nkind = "sft"\nlr = inf\n[[gap]]',
            9,
            ["key lr", "got:    inf", "a finite number (Learning rate"],
        ),
        (
            "[[gap]]",
            '[[repair]]\nkind = "sft"\nsteps = 1_000_000_000\n[[gap]]',
            9,
            ["key steps", "got:    1000000000", "at most 10,000,000 (Updates"],
        ),
        ("[backbone]", "[[backbone]]", 4, ["got:    [[backbone]]", "fix:    write [backbone], as there is but one"]),
        ("[tasks.mine]", "[[tasks]]", 15, ["got:    [[tasks]]", "fix:    write [tasks.NAME]"]),
        ("[tasks.mine]", "[tasks]", 16, ["got:    [tasks]", "fix:    write [tasks.NAME]"]),
        ("[[gap]]", "[gap]", 11, ["not valid TOML", "fix:    write [[gap]] each time, as there may be several"]),
        ("[tasks.mine]", "[gap]\n[tasks.mine]", 15, ["twice", "fix:    write [[gap]] each time"]),
        ("[[gap]]", "[explain]\n[explain]\n[[gap]]", 8, ["not valid TOML", "twice"]),
        ("[[gap]]", ".".join("a" * 3000) + " = 1\n[[gap]]", 22, ["not valid TOML", "nested more than 20 deep"]),
    ],
)
def test_mistakes_of_form(study, old, new, line, words):
    message = refused(study(old, new))
    assert f"s.toml:{line}" in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('"hypernymy"', '"hypernimy"', 8, ["number 1, key task", "did you mean 'hypernymy'?", "mine"]),
        ('"smollm2-135m"', '"smollm-135m"', 5, ["[backbone], key model", "did you mean 'smollm2-135m'?"]),
        ("limit = 8", 'split = "tst"', 9, ["key split", "did you mean 'test'?"]),
        ("limit = 8", 'split_kind = "unseen"', 9, ["key split_kind", "unseen-both"]),
        ("limit = 8", 'generator_phrasing = "plian"', 9, ["key generator_phrasing", "did you mean 'plain'?"]),
        ("limit = 8", 'data = "absent.tsv"', 9, ["key data", "absent.tsv"]),
        ("data/mine.csv", "data/main.csv", 16, ["[tasks.mine], key data", "main.csv"]),
        ('"Is {city}', '"Is {town}', 18, ["[tasks.mine], key validator", "{town}", "mine.csv:2"]),
        ('task = "mine"', 'task = "hypernymy"', 11, ["same folder", "gap/hypernymy", "name = "]),
    ],
)
def test_mistakes_of_matter_are_found_before_weights_load(study, old, new, line, words):
    new = new if "same folder" not in words else new + '\nname = "hypernymy"'
    message = refused(study(old, new))
    assert f"s.toml:{line}" in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "line", "name"),
    [
        ('[gap]\ntask = "hypernymy"', 3, "gap"),
        ('[concepts]\nkind = "topk"\nsize = 8', 3, "concepts"),
        ('[repair]\nkind = "sft"', 3, "repair"),
    ],
)
def test_a_single_table_where_there_may_be_several(tmp_path, text, line, name):
    (tmp_path / "s.toml").write_text(f'name = "s"\nbackbone.model = "m"\n{text}\n')
    message = refused(tmp_path / "s.toml")
    assert f"s.toml:{line}, key {name}" in message and f"got:    [{name}]\n  wanted: [[{name}]]" in message
    assert f"fix:    write [[{name}]], as there may be several" in message


@pytest.mark.parametrize("name", ["text", "names", "verdict", "names.annotator", "concepts.training"])
def test_several_tables_where_there_is_but_one(tmp_path, name):
    top = '[[concepts]]\nkind = "topk"\nsize = 8\n' if name.startswith("concepts") else ""
    (tmp_path / "s.toml").write_text(f'name = "s"\nbackbone.model = "m"\n{top}[[{name}]]\n')
    message = refused(tmp_path / "s.toml")
    assert f"got:    [[{name}]]\n  wanted: [{name}]\n  fix:    write [{name}], as there is but one" in message


def sections(model):
    """All tables that a study may hold."""
    for inner in (field.annotation for field in model.model_fields.values()):
        for section in models_in(inner):
            yield section
            yield from sections(section)


def of_floats(annotation):
    return annotation is float or any(of_floats(inner) for inner in get_args(annotation))


def test_no_number_of_any_section_may_be_infinite():
    tried = 0
    for section in set(sections(study_model())):
        for key, field in section.model_fields.items():
            values = [math.inf, math.nan] if of_floats(field.annotation) else []
            for value in (each for plain in values for each in (plain, [plain])):
                with pytest.raises(ValidationError) as caught:
                    section.model_validate(
                        {
                            key: value,
                            **(
                                {"kind": section.model_fields["kind"].default} if "kind" in section.model_fields else {}
                            ),
                        }
                    )
                assert [detail for detail in caught.value.errors() if detail["loc"][0] == key], (section, key, value)
                tried += 1
    assert tried > 100


def test_all_mistakes_are_told_at_once(study):
    path = study("limit = 8", "limit = 0\nfoo = 1")
    path.write_text(path.read_text().replace('"zero"', '"none"'))
    message = refused(path)
    assert message.startswith(f"3 problems in {path}:")
    for line in (9, 10, 14):
        assert f"s.toml:{line}," in message
    path = study('"hypernymy"', '"hypernimy"')
    path.write_text(path.read_text().replace("smollm2-135m", "nope").replace("mine.csv", "main.csv"))
    assert refused(path).startswith("3 problems")


def test_a_custom_task_that_no_section_asks_for_is_checked_too(study):
    path = study("data/mine.csv", "data/main.csv")
    path.write_text(path.read_text().replace('task = "mine"', 'task = "hypernymy"\nname = "b"'))
    assert "s.toml:17, [tasks.mine], key data" in refused(path)


def test_a_model_folder_is_found_beside_the_study_and_looked_at(study, tmp_path, monkeypatch, tmp_path_factory):
    (tmp_path / "my-model").mkdir()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    file = load(study("smollm2-135m", "my-model"))
    assert Plan(file).backbone.model == str(tmp_path / "my-model")
    message = refused(file.path)
    assert "s.toml:5, [backbone], key model" in message and "safetensors" in message


def test_unreadable_files(tmp_path):
    for path, word in [(tmp_path / "no.toml", "no such study"), (tmp_path, "a folder")]:
        with pytest.raises(AccordError, match=word):
            load(path)
    (tmp_path / "latin.toml").write_bytes('name = "a"\n# café'.encode("latin-1"))
    with pytest.raises(AccordError, match=r"UTF-8(.|\n)*latin.toml:2"):
        load(tmp_path / "latin.toml")


def test_a_study_that_asks_for_nothing(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text('name = "s"\nbackbone.model = "smollm2-135m"\n')
    assert "asks for nothing" in refused(path)


def test_options_are_named_in_errors():
    with pytest.raises(AccordError, match=r"--device(.|\n)*cuda:N"):
        from_options(BackboneSection, {"model": "m", "device": "gpu"})


@pytest.mark.parametrize(
    ("keys", "folder"),
    [
        ({"task": "hypernymy"}, "hypernymy"),
        ({"task": "hypernymy", "validator_shots": "few", "layers": True, "limit": 8}, "hypernymy"),
        ({"task": "hypernymy", "split_kind": "unseen-both", "chat": True}, "hypernymy-unseen-both-chat"),
        ({"task": "h", "generator_shots": "few", "validator_shots": "zero"}, "h-generator-few-validator-zero"),
        ({"task": "dir/my task.toml", "data": "../x/y z.tsv"}, "my-task-y-z"),
        ({"task": "h", "name": "first"}, "first"),
    ],
)
def test_folder_names_are_plain_words(keys, folder):
    assert GapSection.model_validate(keys).folder == folder


def test_what_needs_yes_or_no_is_refused_where_a_validator_chooses(tmp_path):
    (tmp_path / "moods.csv").write_text(
        "text,mood\n" + "".join(f"text {i},{'good' if i % 2 else 'poor'}\n" for i in range(8))
    )
    (tmp_path / "s.toml").write_text(
        """
name = "s"
backbone.model = "smollm2-135m"
[tasks.moods]
data = "moods.csv"
generator = "{text} is"
validator = "Is {text} good or poor?"
answer = "mood"
gold = "mood"
labels = ["good", "poor"]
[[gap]]
task = "moods"
[[repair]]
kind = "sft"
task = "moods"
[[repair]]
kind = "readout"
task = "moods"
[pathway]
"""
    )
    with pytest.raises(AccordError) as caught:
        plan_study(load(tmp_path / "s.toml"))
    said = str(caught.value)
    assert said.count("asked yes or no") == 2 and "any repair but sft needs" in said and "a pathway needs" in said


def test_thousands_of_mistakes_are_told_in_a_moment(tmp_path):
    """Each is found by one reading of the file, and the first are told."""
    path, begun = tmp_path / "s.toml", time.process_time()
    top = 'name = "s"\n[backbone]\nmodel = "smollm2-135m"\n'
    for text, count, last in (
        ("".join(f"key{i} = {i}\n" for i in range(3000)), 3000, "key19"),
        ('[[gap]]\ntask = "hypernymy"\nlimit = "x"\nlayerz = 1\n' * 300, 600, "number 10, key layerz"),
        ("list = [\n" + '  { a = 1, b = "]" },\n' * 3000 + "]\n", 1, "key list"),
        (f"{'k' * 100_000} = 1\n", 1, "Unknown key"),
    ):
        path.write_text(top + text)
        with pytest.raises(AccordError) as error:
            load(path)
        told = str(error.value)
        assert last in told and told.count("where:") == min(count, 20)
        assert (told.startswith(f"{count} problems") and told.endswith(f"and {count - 20} more")) or count == 1
    assert time.process_time() - begun < 5


def test_many_sections_about_the_same_data_read_and_divide_it_once(study, monkeypatch):
    counts, build = {"read": 0, "divided": 0}, sys.modules["accord.tasks.build"]

    def counted(what, function):
        def call(*arguments):
            counts[what] += 1
            return function(*arguments)

        return call

    task = replace(hypernymy.DEFINITION, read=counted("read", hypernymy.read))
    monkeypatch.setitem(TASKS, "hypernymy", task)
    monkeypatch.setattr(build, "random_sides", counted("divided", splits.random_sides))
    sections = "".join(f'[[gap]]\ntask = "hypernymy"\nname = "g{i}"\nlimit = {20 + i}\n' for i in range(100))
    path = study()
    path.write_text(GOOD.partition("[[gap]]")[0] + sections)
    graph = plan_study(load(path))
    assert len(graph.stages) == 100 and counts == {"read": 1, "divided": 1}
