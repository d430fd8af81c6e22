"""The chapter on steering: counts, tests and sentences against plain reference loops."""

import math

import pandas as pd
import pytest

from accord.report import style
from accord.report.html import write_report
from accord.report.wording import p_value
from accord.steering.figures import draw_doses
from accord.steering.findings import PROMOTED_NOTE, Acting, compared, count_acting, steering_findings
from accord.steering.page import chapters
from accord.steering.shown_doses import ARMS, doses_of
from accord.study.run_folder import Run
from tests.report.meaning_folder import DOSES, make_effects, write_names, write_steering
from tests.report.test_html import HOSTILE, Page, asks_network, own_scripts


def said(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_doses_come_in_order():
    doses = doses_of(make_effects().table)
    assert [(d.kind, d.value) for d in doses] == list(DOSES)
    assert [d.short for d in doses] == ["off", "×2", "=4", "+2", "+4"]


def test_acting_concepts_are_counted_and_tested():
    effects = make_effects().table
    acting = count_acting(effects, "promoted", doses_of(effects)[0])
    rows = effects[(effects["measure"] == "promoted") & (effects["kind"] == "factor") & (effects["dose"] == 0)]
    does = {arm: dict(zip(p["concept"], p["acts"], strict=True)) for arm, p in rows.groupby("control") if arm in ARMS}
    assert acting.n == 20 and acting.counts == {arm: sum(map(bool, acts.values())) for arm, acts in does.items()}
    for arm in ARMS[1:]:
        only = sum(does[ARMS[0]][k] and not does[arm][k] for k in range(20))
        other = sum(does[arm][k] and not does[ARMS[0]][k] for k in range(20))
        n = only + other
        tail = sum(math.comb(n, i) for i in range(max(only, other), n + 1)) / 2**n
        assert acting.p[arm] == pytest.approx(min(1, 2 * tail))


@pytest.mark.parametrize(
    ("concepts", "works", "wanted"),
    [
        (20, 0.95, "more than random concepts move these: the edit is specific"),
        (20, 0.1, "not measurably more"),
        (4, 1.0, "too few concepts"),
    ],
)
def test_the_headline_holds_no_more_than_the_test(concepts, works, wanted):
    effects = make_effects(concepts=concepts, works=works)
    (finding,) = steering_findings({"lcblm-s0": effects})
    assert finding.headline.startswith("Turned off, ") and wanted in finding.headline
    assert f"of {concepts} concepts of lcblm-s0 move the tokens they promote" in finding.headline
    acting = count_acting(effects.table, "promoted", doses_of(effects.table)[0])
    does, of = acting.counts, f"of {concepts}"
    controls = f"Random concepts {does[ARMS[1]]} {of}, random directions {does[ARMS[2]]} {of}."
    assert finding.evidence == f"{controls} {PROMOTED_NOTE}"
    for words in (p_value(acting.p[ARMS[1]]), p_value(acting.p[ARMS[2]]), "4 × its usual writing added: ",
                  "2 concepts of lcblm-s0 bring the wanted sentiment: random concepts"):  # fmt: skip
        assert words in finding.details


def test_on_promoted_tokens_strong_directions_do_not_hide_that_an_edit_is_specific():
    acting = Acting(20, dict(zip(ARMS, (19, 0, 20), strict=True)), dict(zip(ARMS[1:], (1e-5, 1.0), strict=True)))
    assert acting.lead is False and "more than random concepts" in compared(acting, "promoted")
    assert compared(acting, "wanted") == " as expected, not measurably more than both controls do"
    strong = Acting(20, dict(zip(ARMS, (19, 0, 1), strict=True)), dict.fromkeys(ARMS[1:], 1e-5))
    assert compared(strong, "wanted") == " as expected, more than controls do"
    none = Acting(20, dict(zip(ARMS, (9, 8, 1), strict=True)), dict(zip(ARMS[1:], (0.8, 1e-3), strict=True)))
    assert "not measurably more than random concepts" in compared(none, "promoted")


def test_steering_on_the_page(tmp_path):
    write_names(tmp_path)
    for name, floats in (("lcblm-s0", 16), ("topk-s0", 1)):
        write_steering(tmp_path, name, floats=floats)
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    text = said(page.text)
    assert "16 numbers a concept; on average 8.0 concepts fire on a token, which write through 128 numbers" in text
    assert "1 number a concept; on average 8.0 concepts fire on a token" in text  # never more concepts than there are
    for title in ("Promoted tokens", "Texts with the wanted sentiment", "The sentiment of texts", "Texts side by side"):
        assert title in text
    for arm in ARMS:
        assert f"{arm} wrote this after added 4.0." in text
    assert "none wrote this after None None." in text  # the unsteered text beside them
    assert sum(a["href"] == "#concept-lcblm-s0-0" for a in page.all("a")) >= 1
    assert not any(a["href"].startswith("#concept-topk") for a in page.all("a"))  # it has no dictionary
    assert len(page.pictures) == 5  # one of them tells how it was made
    links = [a["href"] for a in page.all("a") if a["href"].startswith("./")]
    assert "./steering/topk-s0/effects.json" in links and all((tmp_path / link).is_file() for link in links)


def test_no_promoted_token_is_invisible(tmp_path, monkeypatch):
    monkeypatch.setattr("accord.report.style.inline_svg", lambda figure, prefix: "")
    tokens = [" Reducing", " ", ",", "\n", ""]
    write_steering(tmp_path, about={"written": [{"concept": 0, "promoted": tokens}]})
    (chapter,) = chapters(Run(tmp_path))
    assert chapter.shown["samples"][0]["tokens"] == ["·Reducing", "·", ",", "⏎", "∅"]


def test_changes_of_nothing_look_like_nothing():
    effects = make_effects()
    doses = effects.doses()
    quiet = doses["measure"] == "repeated_4"
    doses.loc[quiet, ["value", "low", "high"]] = [1e-17, -1e-17, 2e-17]
    with style.house_style():
        axes = draw_doses({"lcblm-s0": effects}, {"lcblm-s0": pd.DataFrame(doses)}, "repeated_4").figure.axes[0]
    assert axes.get_ylim() == pytest.approx((-0.01, 0.01))


def test_a_point_without_an_interval_is_told():
    effects = make_effects()
    doses, captions = effects.doses(), []
    for alone in (False, True):
        if alone:
            doses.loc[doses.index[doses["measure"] == "promoted"][:1], ["low", "high"]] = math.nan
        with style.house_style():
            captions.append(draw_doses({"lcblm-s0": effects}, {"lcblm-s0": doses}, "promoted").caption)
    assert "No line" not in captions[0]
    assert captions[1].endswith("No line: too few or too uneven concepts for an interval (1 point).")


def test_hostile_texts_stay_text(tmp_path):
    write_steering(tmp_path, prompts=(HOSTILE, "b"))
    html = write_report(tmp_path).read_text(encoding="utf-8")
    page = Page(html)
    assert own_scripts(html) and not asks_network(html) and HOSTILE not in html
    assert "alert('x')" in page.text
