"""`accord init`: what it writes loads, as it is and with every comment on a key taken away."""

import re
import tomllib

import pytest

import accord.concepts.config as concepts
import accord.heads.config as heads
import accord.repair.config as repair
from accord.errors import AccordError
from accord.gap.config import GapSection
from accord.lm.config import BackboneSection
from accord.study.config import load
from accord.study.graph import plan_study
from accord.study.template import template, write_template
from accord.tasks import CustomTask


def test_the_template_is_a_good_study(tmp_path):
    write_template(tmp_path / "study.toml")
    file = load(tmp_path / "study.toml")
    [stage] = plan_study(file).stages
    assert (file.study.name, stage.settings["task"]["name"]) == ("my-study", "hypernymy")
    assert file.study.gap == [GapSection.model_validate({"task": "hypernymy"})]  # comments show true defaults


def uncommented(text):
    return re.sub(r"^# (?=\w+ = |\[+[\w.-]+\]+$)", "", text, flags=re.MULTILINE)


def test_every_key_is_there_and_valid(tmp_path):
    path = tmp_path / "study.toml"
    write_template(path)
    path.write_text(uncommented(path.read_text()))
    study = load(path).study
    for section in (study.text, *study.concepts, *study.heads, study.perplexity, study.names, study.names.annotator):
        assert section.model_fields_set == type(section).model_fields.keys()
    assert study.gap[0].model_fields_set == GapSection.model_fields.keys()
    assert study.backbone.model_fields_set == BackboneSection.model_fields.keys()
    assert study.tasks["my-task"].model_fields_set == CustomTask.model_fields.keys()


def blocks():
    """The sections of the template, each with the tables in it."""
    sections = []
    for part in template().split("\n\n")[2:]:
        header = re.search(r"^(?:# )?(\[+)(\w+)(\.[\w-]+)?\]", part, flags=re.M)
        if header[3] and header[2] != "tasks":
            sections[-1] += "\n\n" + part
        else:
            sections.append(part)
    return sections


@pytest.mark.parametrize("block", blocks(), ids=lambda block: re.search(r"\[+([\w.-]+)\]", block)[1])
def test_each_section_is_valid_alone(block, tmp_path):
    text = uncommented(block)
    path = tmp_path / "study.toml"
    path.write_text("\n".join(['name = "s"', *([] if "[backbone]" in text else ['backbone.model = "m"']), text]))
    [key] = tomllib.loads(text)
    tables = getattr(load(path).study, key)
    [section] = tables if isinstance(tables, list) else tables.values() if isinstance(tables, dict) else [tables]
    assert section.model_fields_set == type(section).model_fields.keys()


def test_all_kinds_are_shown():
    kinds = set(re.findall(r'^# kind = "(.*)"$', template(), flags=re.M))
    for room in (concepts, heads, repair):
        assert set(room.KINDS) <= kinds


def test_nothing_is_overwritten(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text("mine")
    with pytest.raises(AccordError, match="there already") as caught:
        write_template(path)
    assert path.read_text() == "mine" and "--replace" in str(caught.value) and "name another" in str(caught.value)
    write_template(path, replace=True)
    write_template(path)  # the same
    assert path.read_text() == template()
    for place in (tmp_path / "absent" / "study.toml", tmp_path):
        with pytest.raises(AccordError, match="cannot be written there"):
            write_template(place)
