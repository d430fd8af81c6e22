"""Steering and the gap told by concepts on the page: counts, tests and sentences against plain reference loops."""

import json
import math
import re
from itertools import pairwise

import pandas as pd
import pytest
from tests.report.meaning_folder import DOSES, write_explanation, write_names, write_steering
from tests.report.test_html import HOSTILE, Page, asks_network

from accord.report import style
from accord.report.draw_explain import draw_check
from accord.report.draw_steering import draw_doses
from accord.report.explain_data import read_explanations
from accord.report.explain_page import explain_shown
from accord.report.explain_verdict import explain_findings, too_few
from accord.report.html import write_report
from accord.report.names_data import read_names
from accord.report.steering_data import ARMS, given, read_steering
from accord.report.steering_page import steering_shown
from accord.report.steering_verdict import PROMOTED_NOTE, Acting, acting, compared, p_value, steering_findings
from accord.report.wording import number


def page_of(run):
    return Page(write_report(run).read_text(encoding="utf-8"))


def said(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_doses_come_in_order(tmp_path):
    write_steering(tmp_path)
    doses = given(read_steering(tmp_path)[0].effects)
    assert [(d.kind, d.value) for d in doses] == list(DOSES)
    assert [d.short for d in doses] == ["off", "×2", "=4", "+2", "+4"]


def test_acting_concepts_are_counted_and_tested(tmp_path):
    write_steering(tmp_path)
    effects = read_steering(tmp_path)[0].effects
    dose = given(effects)[0]
    told = acting(effects, "promoted", dose)
    rows = effects[(effects["measure"] == "promoted") & (effects["kind"] == "factor") & (effects["dose"] == 0)]
    does = {arm: dict(zip(p["concept"], p["acts"], strict=True)) for arm, p in rows.groupby("control") if arm in ARMS}
    assert told.n == 20 and told.acting == {arm: sum(map(bool, one.values())) for arm, one in does.items()}
    for arm in ARMS[1:]:
        only = sum(does[ARMS[0]][k] and not does[arm][k] for k in range(20))
        other = sum(does[arm][k] and not does[ARMS[0]][k] for k in range(20))
        n = only + other
        tail = sum(math.comb(n, i) for i in range(max(only, other), n + 1)) / 2**n
        assert told.p[arm] == pytest.approx(min(1, 2 * tail))


@pytest.mark.parametrize(
    ("concepts", "works", "wanted"),
    [
        (20, 0.95, "more than random concepts move these: the edit is specific"),
        (20, 0.1, "not measurably more"),
        (4, 1.0, "too few concepts"),
    ],
)
def test_the_headline_of_steering_holds_no_more_than_the_test(tmp_path, concepts, works, wanted):
    write_steering(tmp_path, concepts=concepts, works=works)
    stages = read_steering(tmp_path)
    (found,) = steering_findings(stages)
    assert found.headline.startswith("Turned off, ") and wanted in found.headline
    assert f"of {concepts} concepts of lcblm-s0 move the tokens they promote" in found.headline
    told = acting(stages[0].effects, "promoted", given(stages[0].effects)[0])
    does, of = told.acting, f"of {concepts}"
    controls = f"Random concepts {does[ARMS[1]]} {of}, random directions {does[ARMS[2]]} {of}."
    assert found.evidence == f"{controls} {PROMOTED_NOTE}"
    for words in (p_value(told.p[ARMS[1]]), p_value(told.p[ARMS[2]]), "4 × its usual writing added: ",
                  "2 concepts of lcblm-s0 bring the wanted sentiment: random concepts"):  # fmt: skip
        assert words in found.details


def test_on_promoted_tokens_strong_directions_do_not_hide_that_an_edit_is_specific():
    told = Acting(20, dict(zip(ARMS, (19, 0, 20), strict=True)), dict(zip(ARMS[1:], (1e-5, 1.0), strict=True)))
    assert told.lead is False and "more than random concepts" in compared(told, "promoted")
    assert compared(told, "wanted") == " as expected, not measurably more than both controls do"
    strong = Acting(20, dict(zip(ARMS, (19, 0, 1), strict=True)), dict.fromkeys(ARMS[1:], 1e-5))
    assert compared(strong, "wanted") == " as expected, more than controls do"
    none = Acting(20, dict(zip(ARMS, (9, 8, 1), strict=True)), dict(zip(ARMS[1:], (0.8, 1e-3), strict=True)))
    assert "not measurably more than random concepts" in compared(none, "promoted")


def test_steering_on_the_page(tmp_path):
    write_names(tmp_path)
    for name, floats in (("lcblm-s0", 16), ("topk-s0", 1)):
        write_steering(tmp_path, name, floats=floats)
    page = page_of(tmp_path)
    text = said(page.text)
    assert "16 numbers a concept, 128 active a token" in text and "1 number a concept, 8 active a token" in text
    for title in ("Promoted tokens", "Texts with the wanted sentiment", "The sentiment of texts", "Texts side by side"):
        assert title in text
    for arm in ARMS:
        assert f"{arm} wrote this after added 4.0." in text
    assert "none wrote this after None None." in text  # the unsteered text beside them
    assert sum(a["href"] == "#concept-lcblm-s0-0" for a in page.all("a")) >= 1
    assert not any(a["href"].startswith("#concept-topk") for a in page.all("a"))  # it has no dictionary
    assert len([a for _, a in page.elements if a.get("role") == "img"]) == 4


@pytest.mark.parametrize(
    ("effect", "wanted"),
    [(0.2, "that explain the gap move it more than random concepts do"), (0.0, "do not measurably move it more")],
)
def test_the_headline_of_the_explanation(tmp_path, effect, wanted):
    folder = write_explanation(tmp_path, effect=effect)
    (found,) = explain_findings(read_explanations(tmp_path))
    assert wanted in found.headline
    check = json.loads((folder / "explain.json").read_text())["check"]
    assert found.evidence.startswith("On 30 items that chose none of them, turning off the 3 against agreement changes")
    assert f"r by {number(check['for']['value'])} [" in found.evidence and len(found.evidence) < 220
    assert f"random sets by {number(check['for']['random_mean'])}." in found.evidence
    assert "20 random sets of equal rates" in found.details and "of the largest contributions" in found.details
    assert "too few other concepts" not in found.details and too_few({"random": 18}) and not too_few({"random": 19})
    assert said(p_value(check["against"]["p"])) in said(found.details)


def test_an_effect_whose_interval_holds_zero_is_none(tmp_path):
    folder = write_explanation(tmp_path)
    told = json.loads((folder / "explain.json").read_text())
    for what, low, high in (("against", -0.01, 0.5), ("for", -0.5, 0.01)):
        told["check"][what] |= {"low": low, "high": high}
    (folder / "explain.json").write_text(json.dumps(told))
    (found,) = explain_findings(read_explanations(tmp_path))
    assert "do not measurably" in found.headline
    told["check"]["for"] |= {"high": -0.1}
    (folder / "explain.json").write_text(json.dumps(told))
    (found,) = explain_findings(read_explanations(tmp_path))
    assert "that carry agreement move the gap" in found.headline
    assert "the others do not measurably" in found.headline


def test_the_explanation_on_the_page(tmp_path):
    write_names(tmp_path)
    folder = write_explanation(tmp_path)
    page = page_of(tmp_path)
    text = said(page.text)
    for words in ("Concepts by their pull", "Carry the generator more", "Carry the validator more", "r = .98 with"):
        assert words in text
    items = text[text.index("Why these answers differ") :]
    scores = pd.read_parquet(folder / "scores.parquet")
    z = [(v - v.mean()) / v.std(ddof=0) for v in (scores["generator_logodds"], scores["validator_logodds"])]
    furthest = (z[0] - z[1]).abs().sort_values(ascending=False).index[:12]
    places = [items.index(f"Item {i}: a bee") for i in furthest]
    assert places == sorted(places)
    assert items.count("right answer") + items.count("wrong answer") == 12
    own = pd.read_parquet(folder / "items.parquet")
    first = own[(own["item"] == furthest[0]) & (own["form"] == "generator")].iloc[0]
    assert f"#concept-lcblm-s0-{first['concept']}" in [a["href"] for a in page.all("a")]
    linked = {a["href"] for a in page.all("a") if a["href"].startswith("#concept-")}
    ids = {f"#{one['id']}" for one in page.all("tr") if "id" in one}
    assert linked <= ids  # without a script, too, every link leads somewhere


def test_a_concept_without_a_name_shows_its_typical_tokens(tmp_path):
    write_names(tmp_path)
    write_explanation(tmp_path)
    write_steering(tmp_path)
    explained = read_explanations(tmp_path)
    dictionaries = read_names(tmp_path)
    (model,) = explain_shown(explained, dictionaries, tmp_path, "x")["models"]
    told = {row["concept"]["number"]: row["concept"] for row in (*model["rows"], *model["others"])}
    assert told["2"]["name"] == "" and told["2"]["typical"] == ["film", "river", "sugar"]  # every third has no name
    assert told["1"]["name"] == "silence 1"
    page = write_report(tmp_path).read_text(encoding="utf-8")
    part = page[page.index('id="explain-title"') :]
    chips = '<span class="typical"><span class="hidden">no name, fires on </span><code class="token"><bdi>film</bdi>'
    assert f'<a href="#concept-lcblm-s0-2">2</a> {chips}' in part
    assert (
        '<a href="#concept-lcblm-s0-1">1 <bdi>silence 1</bdi></a>' in part and "silence 1</bdi></a> <span" not in part
    )
    (bare,) = explain_shown(explained, [], tmp_path, "x")["models"]  # without a dictionary, the number alone
    assert all(row["concept"] | {"number": ""} == {"number": "", "name": "", "typical": [], "href": ""}
               for row in bare["rows"])  # fmt: skip


def test_no_promoted_token_is_invisible(tmp_path):
    folder = write_steering(tmp_path)
    told = json.loads((folder / "effects.json").read_text())
    told["written"][0]["promoted"] = [" Reducing", " ", ",", "\n", ""]
    (folder / "effects.json").write_text(json.dumps(told))
    shown = steering_shown(read_steering(tmp_path), [], tmp_path, "s")
    assert shown["samples"][0]["tokens"] == ["·Reducing", "·", ",", "⏎", "∅"]


def test_all_of_the_check_is_within_the_picture(tmp_path):
    write_explanation(tmp_path)
    with style.house_style():
        figure = draw_check(read_explanations(tmp_path)[0]).figure
        figure.draw_without_rendering()
        for axes in figure.axes:
            for label in (axes.xaxis.label, axes.title, *axes.get_yticklabels()):
                box = label.get_window_extent()
                assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and figure.bbox.y0 <= box.y0, label
        ends = [axes.xaxis.label.get_window_extent() for axes in figure.axes]
    assert all(one.x1 < other.x0 for one, other in pairwise(ends))


def test_changes_of_nothing_look_like_nothing(tmp_path):
    folder = write_steering(tmp_path)
    doses = pd.read_parquet(folder / "doses.parquet")
    quiet = doses["measure"] == "repeated_4"
    doses.loc[quiet, ["value", "low", "high"]] = [1e-17, -1e-17, 2e-17]
    doses.to_parquet(folder / "doses.parquet")
    with style.house_style():
        axes = draw_doses(read_steering(tmp_path), "repeated_4").figure.axes[0]
    assert axes.get_ylim() == pytest.approx((-0.01, 0.01))


def test_the_order_of_the_page(tmp_path):
    write_names(tmp_path)
    write_steering(tmp_path)
    write_explanation(tmp_path)
    (tmp_path / "texts" / "new-s0").mkdir(parents=True)
    line = {"row": "new", "seed": 0, "index": 0, "text": "a", "tokens": 1, "finished": True}
    (tmp_path / "texts" / "new-s0" / "texts.jsonl").write_text(json.dumps(line) + "\n")
    page = page_of(tmp_path)
    titles = [one["id"] for one in page.all("h2") if one["id"].endswith("-title")]
    assert titles == ["names-title", "steering-title", "explain-title", "perplexity-title"]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert "95 % intervals of names over concepts; of the explanation over items" in page.text


def test_hostile_texts_stay_text(tmp_path):
    write_steering(tmp_path, prompts=(HOSTILE, "b"))
    write_explanation(tmp_path, answers=(HOSTILE, "x"))
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert not re.search("<script", html) and not asks_network(html) and HOSTILE not in html
    assert "alert('x')" in Page(html).text
