"""All items of a gap, as the page embeds them: the table's own numbers, within their budget, and no text breaks out."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.report.test_html import HOSTILE, Page, own_scripts
from tests.verdict.repaired_run import MADE, write_run

from accord.gap.draw_items import draw_scatter
from accord.gap.item_json import LETTERS, embed_items, items_shown
from accord.gap.slices import judged
from accord.report import style
from accord.report.drawn import on_page
from accord.report.html import write_report
from accord.study.run_folder import Run
from accord.verdict.page import chapters

Scores = Callable[..., pd.DataFrame]
Writer = Callable[..., Path]
PLENTY = 10**9


def prompts(column: dict[str, Any]) -> list[str]:
    return [column["all"] + column["pre"] + own + column["post"] for own in column["own"]]


def test_what_is_embedded_is_the_table(gap_scores: Scores) -> None:
    before, after = gap_scores(120), gap_scores(120).assign(validator_logodds=np.linspace(-3, 3, 120))
    before.loc[3, "generator_logodds"], before.loc[4, "yes_no_mass"] = -np.inf, np.nan
    before["group"] = before["group"].astype(object).where(before.index != 5, None)
    embedded = embed_items(before, after, PLENTY)
    data = json.loads(embedded.text)
    assert (embedded.items, embedded.letters, data["of"]) == (120, LETTERS[0], 120) and "i" not in data
    assert [gold == "1" for gold in data["y"]] == list(before["gold"]) and data["a"] == list(before["answer"])
    assert [data["gs"][g] if g >= 0 else None for g in data["g"]] == list(before["group"])
    assert prompts(data["x"]) == list(before["generator_prompt"]) and prompts(data["q"]) == list(
        before["validator_prompt"]
    )
    assert data["q"]["all"].endswith("Answer: No\n") and data["q"]["post"] == "? Answer:" and "cut" not in data["q"]
    for side, table in zip(data["s"], (before, after), strict=True):
        own = judged(table)
        assert [int(kind) % 2 == 1 for kind in side["k"]] == list(own["says"])
        assert [int(kind) >= 2 for kind in side["k"]] == list(own["affirms"])
        assert np.allclose(side["v"], table["validator_logodds"], atol=1e-4)
        below = [sum(v < w for v in table["validator_logodds"]) / 119 for w in table["validator_logodds"]]
        assert np.allclose(side["w"], np.multiply(below, 1000), atol=0.51)
        assert side["r"] == list(table["generator_rank"])
    assert data["s"][0]["l"][3] == -1e308 and data["s"][0]["m"][4] is None


def test_a_budget_costs_letters_first_and_then_the_items_that_agree(gap_scores: Scores) -> None:
    scores = gap_scores(200)
    scores["generator_prompt"] = [f"{i} " + "".join(map(str, range(i, i + 150))) for i in range(200)]
    whole = embed_items(scores, None, PLENTY)
    shorter = embed_items(scores, None, 75_000)
    assert shorter.items == 200 and shorter.letters == 200 and len(shorter.text.encode()) <= 75_000
    data = json.loads(shorter.text)
    ends = [own + data["x"]["post"] for own in data["x"]["own"]]
    assert data["x"]["cut"] and all(
        prompt.endswith(end) for prompt, end in zip(scores["generator_prompt"], ends, strict=True)
    )
    few = embed_items(scores, None, 8_000)
    kept = json.loads(few.text)["i"]
    assert 10 < few.items == len(kept) < 200 and len(few.text.encode()) <= 8_000 < len(whole.text.encode())
    apart = judged(scores)["distance"].abs()
    assert apart[kept].min() >= apart.drop(kept).max()
    words = items_shown("gap-1", scores, label="", budget=8_000)["left_out"]
    assert f"the {few.items} of 200 items on which" in words and "last 80 letters of a prompt" in words
    assert items_shown("gap-1", scores, label="")["left_out"] == ""


def test_no_text_breaks_out_of_the_data(gap_scores: Scores) -> None:
    nasty = ["</script><!--", "<script>", "]]>", "\u2028\u2029", HOSTILE, "\\u003c", '"']
    scores = gap_scores(len(nasty)).assign(answer=nasty, group=nasty, generator_prompt=nasty, validator_prompt=nasty)
    text = embed_items(scores, None, PLENTY).text
    assert not re.search("[<\u2028\u2029]", text)
    data = json.loads(text)
    assert data["a"] == prompts(data["x"]) == nasty


@pytest.mark.parametrize("n", [1, 2, 3])
def test_hardly_any_items(gap_scores: Scores, n: int) -> None:
    scores = gap_scores(n)
    data = json.loads(embed_items(scores, None, PLENTY).text)
    assert prompts(data["x"]) == list(scores["generator_prompt"])
    assert embed_items(scores, None, 10).items == 1  # something is always there


def test_the_page_has_them_and_without_a_script_what_it_had(run_folder: Path) -> None:
    html = write_report(run_folder).read_text(encoding="utf-8")
    page = Page(html)
    assert own_scripts(html) and len(page.all("script")) == 3  # the data, what folds, and what shows items
    data = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', html)[0])
    scores = pd.read_parquet(run_folder / "gap" / "hypernymy" / "scores.parquet")
    assert data["a"] == list(scores["answer"])
    assert "All items 240 items" in page.text and "With a script allowed" in page.text
    assert "Says it, but denies it 6 of" in page.text  # the plain form, for print and where no script runs


def test_points_lie_where_the_planes_say(gap_maker: Callable[..., Any]) -> None:
    gap = gap_maker(layers=False)
    with style.house_style():
        (figure,) = on_page([draw_scatter(gap)], "gap-1")
    ((plane),) = json.loads(figure["planes"])
    x, y = plane["x"], plane["y"]
    uses = re.findall(r'<use href="#[^"]+" x="([\d.]+)" y="([\d.]+)"', figure["svg"])
    drawn = np.array(uses, dtype=float)
    for gold, item in gap.scores.groupby("gold").first().iterrows():
        px = x[0] + (item["generator_logodds"] - x[2]) / (x[3] - x[2]) * (x[1] - x[0])
        py = y[0] + (item["validator_logodds"] - y[2]) / (y[3] - y[2]) * (y[1] - y[0])
        assert np.hypot(*(drawn - (px, py)).T).min() < 0.1, gold


def test_a_repair_has_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.report.style.inline_svg", lambda figure, prefix: "")
    run = write_run(tmp_path / "run", {"readout": MADE["readout"]}, trials=["test"], n=40)
    (chapter,) = chapters(Run(run))
    table = chapter.shown["all_items"]
    sides = json.loads(table["json"])["s"]
    for side, name in zip(sides, ("answers/hypernymy", "verdict/readout-s0"), strict=True):
        scores = pd.read_parquet(run / name / "test.parquet")
        assert np.allclose(side["v"], scores["validator_logodds"], atol=1e-4)
    assert table["note"] == "Before any repair, and after readout." and chapter.script
    figure = chapter.shown["before"][0]
    desk, phone = (json.loads(layout["planes"]) for layout in (figure, figure["phone"]))
    assert [plane["side"] for plane in desk] == [plane["side"] for plane in phone] == [0, 1]
    assert desk[0]["x"][:2] != desk[1]["x"][:2] and phone[0]["x"][:2] == phone[1]["x"][:2]  # beside, below each other
