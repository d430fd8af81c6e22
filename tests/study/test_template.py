"""`accord init`: what it writes loads, as it is and with every comment on a key taken away."""

import re

import pytest

from accord.errors import AccordError
from accord.gap.config import GapSection
from accord.lm.config import BackboneSection
from accord.study.config import load
from accord.study.template import write_template
from accord.study.validate import check
from accord.tasks import CustomTask


def test_the_template_is_a_good_study(tmp_path):
    write_template(tmp_path / "study.toml")
    file = load(tmp_path / "study.toml")
    [task] = check(file)
    assert (file.study.name, task.name) == ("my-study", "hypernymy")
    assert file.study.gap == [GapSection.model_validate({"task": "hypernymy"})]  # comments show true defaults


def test_every_key_is_there_and_valid(tmp_path):
    path = tmp_path / "study.toml"
    write_template(path)
    path.write_text(re.sub(r"^# (?=\w+ = |\[)", "", path.read_text(), flags=re.MULTILINE))
    study = load(path).study
    for section in (study.text, *study.concepts, *study.heads, study.perplexity, study.names, study.names.annotator):
        assert section.model_fields_set == type(section).model_fields.keys()
    assert study.gap[0].model_fields_set == GapSection.model_fields.keys()
    assert study.backbone.model_fields_set == BackboneSection.model_fields.keys()
    assert study.tasks["my-task"].model_fields_set == CustomTask.model_fields.keys()


def test_nothing_is_overwritten(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text("mine")
    with pytest.raises(AccordError, match="exists already"):
        write_template(path)
    assert path.read_text() == "mine"
    with pytest.raises(AccordError, match="no folder"):
        write_template(tmp_path / "absent" / "study.toml")
