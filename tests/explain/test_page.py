"""The chapter on the gap told by concepts: sentences, tables and pictures against what was measured."""

from itertools import pairwise

import pytest

from accord.explain.figures import draw_check
from accord.explain.findings import RULE, explain_findings, too_few
from accord.explain.page import _checked, chapters
from accord.report import style
from accord.report.html import write_report
from accord.report.wording import number, p_value
from accord.study.run_folder import Run
from tests.report.meaning_folder import checked_otherwise, make_explanation, write_explanation, write_names
from tests.report.test_html import HOSTILE, Page, asks_network, own_scripts


def said(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def finding_of(explanation):
    (finding,) = explain_findings({"lcblm-s0": explanation})
    return finding


@pytest.mark.parametrize(
    ("effect", "wanted"),
    [(0.2, "that explain the gap move it more than random concepts do"), (0.0, "do not measurably move it more")],
)
def test_the_headline(effect, wanted):
    explanation = make_explanation(effect=effect)
    finding, check = finding_of(explanation), explanation.summary["check"]
    assert wanted in finding.headline and finding.headline.startswith("The concepts of lcblm-s0 ")
    assert finding.evidence.startswith(
        "On 30 items that chose none of them, turning off the 3 against agreement changes"
    )
    assert f"r by {number(check['for']['value'])} [" in finding.evidence and len(finding.evidence) < 220
    assert f"random sets by {number(check['for']['random_mean'])}." in finding.evidence
    assert "20 random sets of equal rates" in finding.details and "of the largest contributions" in finding.details
    assert "too few other concepts" not in finding.details and too_few({"random": 18}) and not too_few({"random": 19})
    assert said(p_value(check["against"]["p"])) in said(finding.details)


def test_an_effect_whose_interval_holds_zero_is_none():
    neither = {"against": {"low": -0.01, "high": 0.5}, "for": {"low": -0.5, "high": 0.01}}
    explanation = checked_otherwise(make_explanation(), **neither)
    assert "do not measurably" in finding_of(explanation).headline
    headline = finding_of(checked_otherwise(explanation, **{"for": {"high": -0.1}})).headline
    assert "that carry agreement move the gap" in headline
    assert "the others do not measurably" in headline


def test_why_a_small_p_is_not_enough_stands_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr("accord.report.style.inline_svg", lambda figure, prefix: "")
    ends = {"against": {"p": 1 / 21, "value": 0.2, "low": -0.01, "high": 0.5}, "for": {"p": 1 / 21}}
    explanation = checked_otherwise(make_explanation(), **ends)
    finding = finding_of(explanation)
    assert "(p = .048, but its own interval holds 0)" in said(finding.evidence) and RULE in finding.details
    assert said(finding.evidence).count("but its own") == 1  # not of the set that passes
    assert RULE in draw_check("lcblm-s0", explanation).caption
    verdicts = [_checked(what, check)["verdict"] for what, check in explanation.summary["check"].items()]
    assert verdicts[:2] == ["not told from random: its own interval holds 0", "more than random"]
    weak = checked_otherwise(explanation, against={"p": 0.3})
    assert _checked("against", weak.summary["check"]["against"])["verdict"] == "not told from random: p > .05"
    write_explanation(tmp_path)
    assert RULE in write_report(tmp_path).read_text(encoding="utf-8")


def test_the_explanation_on_the_page(tmp_path):
    write_names(tmp_path)
    explanation = write_explanation(tmp_path)
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    text = said(page.text)
    for words in ("Concepts by their pull", "Carry the generator more", "Carry the validator more", "r = .98 with"):
        assert words in text
    items = text[text.index("Why these answers differ the 12 items") : text.index("Under each form the concepts")]
    scores = explanation.scores
    z = [(v - v.mean()) / v.std(ddof=0) for v in (scores["generator_logodds"], scores["validator_logodds"])]
    furthest = (z[0] - z[1]).abs().sort_values(ascending=False).index[:12]
    places = [items.index(f"Item {i}: a bee") for i in furthest]
    assert places == sorted(places)
    assert items.count("right answer") + items.count("wrong answer") == 12
    own = explanation.items
    first = own[(own["item"] == furthest[0]) & (own["form"] == "generator")].iloc[0]
    assert f"#concept-lcblm-s0-{first['concept']}" in [a["href"] for a in page.all("a")]
    linked = {a["href"] for a in page.all("a") if a["href"].startswith("#concept-")}
    ids = {f"#{one['id']}" for one in page.all("tr") if "id" in one}
    assert linked <= ids  # without a script, too, every link leads somewhere


def test_a_concept_without_a_name_shows_its_typical_tokens(tmp_path, monkeypatch):
    monkeypatch.setattr("accord.report.style.inline_svg", lambda figure, prefix: "")
    write_explanation(tmp_path)
    ((bare,),) = (chapter.shown["models"] for chapter in chapters(Run(tmp_path)))
    assert all(row["concept"] | {"number": ""} == {"number": "", "name": "", "typical": [], "href": ""}
               for row in bare["rows"])  # without a dictionary, the number alone  # fmt: skip
    write_names(tmp_path)
    ((model,),) = (chapter.shown["models"] for chapter in chapters(Run(tmp_path)))
    called = {row["concept"]["number"]: row["concept"] for row in (*model["rows"], *model["others"])}
    assert called["2"]["name"] == "" and called["2"]["typical"] == ["film", "river", "sugar"]  # every third has no name
    assert called["1"]["name"] == "silence 1"
    page = write_report(tmp_path).read_text(encoding="utf-8")
    part = page[page.index('id="explain-title"') :]
    chips = '<span class="typical"><span class="hidden">no name, fires on </span><code class="token"><bdi>film</bdi>'
    assert f'<a href="#concept-lcblm-s0-2">2</a> {chips}' in part
    assert (
        '<a href="#concept-lcblm-s0-1">1 <bdi>silence 1</bdi></a>' in part and "silence 1</bdi></a> <span" not in part
    )


def test_a_correlation_that_is_not_defined_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("accord.report.style.inline_svg", lambda figure, prefix: "")
    numbers = {"pearson": None, "mean_error": 0.0, "mean_size": 0.0}
    write_explanation(tmp_path, foretold=numbers)
    (chapter,) = chapters(Run(tmp_path))
    assert "r = n/a with" in dict(chapter.shown["models"][0]["about"])["The gradient that chose them, generator"]


def test_all_of_the_check_is_within_the_picture():
    with style.house_style():
        figure = draw_check("lcblm-s0", make_explanation()).figure
        figure.draw_without_rendering()
        for axes in figure.axes:
            for label in (axes.xaxis.label, axes.title, *axes.get_yticklabels()):
                box = label.get_window_extent()
                assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and figure.bbox.y0 <= box.y0, label
        ends = [axes.xaxis.label.get_window_extent() for axes in figure.axes]
    assert all(one.x1 < other.x0 for one, other in pairwise(ends))


def test_hostile_texts_stay_text(tmp_path):
    write_explanation(tmp_path, answers=(HOSTILE, "x"))
    html = write_report(tmp_path).read_text(encoding="utf-8")
    page = Page(html)
    assert own_scripts(html) and not asks_network(html) and HOSTILE not in html
    assert "alert('x')" in page.text
