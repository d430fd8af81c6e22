"""What a person sees who types the name of a thing: a few lines, never its tables or weights."""

import re

import pytest

import accord
from accord.concepts.config import read_config
from accord.concepts.kinds import build
from accord.report.finding import Finding
from accord.report.notebook import finding_html
from tests.gap.test_measure import pairs
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def lm():
    return accord.Backbone(tiny_model(), tiny_tokenizer(), name="tiny")


@pytest.fixture(scope="module")
def gap(lm):
    return accord.measure_gap(lm, pairs(), resamples=20)


def test_a_model_a_task_and_a_gap_show_themselves_in_a_few_lines(lm, gap):
    for thing, word in ((lm, "Backbone tiny"), (pairs(), "Task pairs, all: 24 items"), (gap, "Gap of 24 items: r ")):
        said = repr(thing)
        assert said.startswith(word) and said.count("\n") <= 2 and len(said) < 500


def test_concept_models_show_what_they_are():
    said = repr(build(read_config({"kind": "topk", "size": 8, "k": 2}), d=6))
    assert said.startswith("TopK: 8 concepts of embeddings of width 6") and said.count("\n") == 2


def test_a_notebook_shows_a_gap_with_its_finding_its_numbers_and_its_picture(gap):
    html = gap._repr_html_()
    assert html.startswith("<p><b>The model ") and "<table>" in html
    assert re.search(r'<img alt="" src="data:image/png;base64,[A-Za-z0-9+/=]{1000,}">', html)
    assert {"scatter"} <= set(gap.plot())


def test_text_of_others_is_escaped():
    html = finding_html(Finding("<b>", "<script>", remarks=["&"], others="<i>"), ("<u>",), [["<s>"]])
    for raw in ("<script>", "<b><b>", "<i>", "<u>", "<s>"):
        assert raw not in html


def test_completion_shows_the_public_names_and_no_others():
    assert dir(accord) == sorted([*accord.__all__, "__version__"])
    assert all(hasattr(accord, name) for name in dir(accord))
