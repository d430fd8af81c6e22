"""The chapter on repairs: first on the page, complete, safe, and telling what is missing."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from tests.report.run_folder import publish_result
from tests.report.test_html import HOSTILE, Page, asks_network, own_scripts
from tests.verdict.repaired_run import MADE, write_run

from accord.errors import AccordError
from accord.gap import compare
from accord.report import style
from accord.report.html import write_report
from accord.study.run_folder import Run
from accord.verdict.figures import MOST_PANELS, draw_closure, draw_every_repair
from accord.verdict.items import changed_items
from accord.verdict.judged import JudgedRepair, RepairGroup, judged_repairs
from accord.verdict.page import chapters
from accord.verdict.result import Answers, Verdict

TRIALS = ("test", "test-unseen-hypernyms", "test-unseen-both", "generator-typical", "validator-is-it-true")
SOME = {
    "rankalign": replace(MADE["rankalign"], seeds=2),
    "readout": MADE["readout"],
    "sft-union": replace(MADE["sft-union"], seeds=1),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three repairs; tests only read it."""
    return write_run(tmp_path_factory.mktemp("runs") / "demo", SOME, trials=TRIALS)


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(whole, tmp_path / "demo"))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without their pictures, for tests of their words: rendering is nearly all of the time."""
    monkeypatch.setattr("accord.report.style.inline_svg", lambda figure, prefix: "")


def read(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def group_of(run: Path) -> RepairGroup:
    (group,) = judged_repairs(Run(run))
    return group


def again(run: Path, label: str, change: Callable[[Verdict], Verdict]) -> None:
    """Another verdict in the place of one that is there."""
    verdict = change(Verdict.read(run / "verdict" / label))
    shutil.rmtree(run / "verdict" / label)
    publish_result(run, "verdict", label, verdict)


def test_the_page_has_every_part_in_order(whole: Path) -> None:
    html = write_report(whole).read_text(encoding="utf-8")
    page = Page(html)
    wanted = ["Finding Can", "closes", "perplexity ×", "120 test items", "The same 120 items before and after"]
    wanted += ["Brackets", "where a repair has one seed", "Every repair"]
    wanted += ["before any repair", "named first", "Named first:", "What the columns mean", "(r after − r before)"]
    wanted += ["Every test set in numbers", "→", "Each seed in numbers", "How far it carries", "What it broke"]
    wanted += ["▾ worse", "moved", "Relation by relation", "What the measures mean", "What they write by themselves"]
    wanted += ["By which pathway", "the repair enters", "The 10 items that changed most", "Training"]
    wanted += ["How they were made", "settings.lr"]
    places = []
    for words in wanted:
        places.append(page.text.find(words, places[-1] if places else 0))
        assert places[-1] >= 0, words
    named = [a["aria-label"] for a in page.pictures]
    assert len(named) == 2 + 2 + 6 + 2 * 2 + 1 + 1  # items, reach, one whole pathway, two in brief, training, making
    assert all(len(alt) > 40 for alt in named)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {label for _, a in page.elements for label in a.get("aria-labelledby", "").split()} <= set(ids)
    assert own_scripts(html) and not re.search(r"<text|<style>.*<style>", html, flags=re.DOTALL)
    links = [a["href"] for a in page.all("a") if not a["href"].startswith("#")]
    assert "./damage/rankalign-s1/damage.json" in links
    assert all((whole / unquote(link)).is_file() for link in links)
    assert len(html) < 3_000_000


def test_numbers_are_those_of_the_results(whole: Path) -> None:
    (chapter,) = chapters(Run(whole))
    rows = {row["label"]: row for row in chapter.shown["table"]["rows"]}
    r = Verdict.read(whole / "verdict" / "readout-s0").changes["test"]["pearson_all"].after
    places = [term.label for term in chapter.shown["table"]["terms"]]
    cell = rows["readout"]["cells"][places.index("r, all")]
    assert cell["value"] == f"{r['value']:.2f}".lstrip("0")
    assert cell["interval"].replace("\N{NO-BREAK SPACE}", " ") == f"[{r['low']:.2f}, {r['high']:.2f}]".replace(
        "0.", "."
    )
    assert [row["seeds"] for row in rows.values()] == [2, 1, 1]
    assert list(rows) == list(SOME)  # in the order in which they were made
    assert chapter.leads and chapter.key == "repair" and chapter.title == "Repairs"


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("part", ["damage", "pathway", "repair"])
def test_what_is_missing_is_said(run: Path, part: str) -> None:
    shutil.rmtree(run / part)
    text = read(run).text
    assert ("What it broke was not measured" in text) == (part == "damage")
    assert ("Not measured: what they broke ([damage]): none of the repairs was tried" in text) == (part == "damage")
    assert ("Not measured: their pathway ([pathway]): none of the repairs was tried" in text) == (part == "pathway")
    assert ("How the losses fall" in text) == (part != "repair")
    assert "items that changed most" in text


@pytest.mark.usefixtures("undrawn")
def test_parts_of_some_and_repairs_without_verdict(run: Path) -> None:
    shutil.rmtree(run / "pathway" / "sft-union-s0")
    shutil.rmtree(run / "verdict" / "rankalign-s1")
    shutil.rmtree(run / "answers")
    text = read(run).text
    assert "Not measured: their pathway ([pathway]): not of sft-union." in text
    assert "without a verdict, and so not here: rankalign-s1." in text
    assert "items that changed most" not in text and "The same 120 items" not in text
    assert "Each seed in numbers" not in text  # one seed each
    shutil.rmtree(run / "verdict")
    alone = read(run).text
    assert "without a verdict" in alone and "Finding" not in alone


def test_no_repair_no_chapter(tmp_path: Path) -> None:
    write_run(tmp_path, {}, trials=["test"], n=20)
    assert chapters(Run(tmp_path)) == []  # a base's answers alone are no repair


@pytest.mark.usefixtures("undrawn")
def test_two_bases_are_two_chapters(run: Path) -> None:
    publish_result(run, "answers", "other", Answers.read(run / "answers" / "hypernymy"))
    again(run, "readout-s0", lambda v: replace(v, about={**v.about, "base": "other", "task": "other"}))
    page = read(run)
    assert "Repairs, hypernymy" in page.text and "Repairs, other" in page.text
    assert page.text.count("Every test set in numbers") == 2
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_scores_of_other_items_are_refused(run: Path) -> None:
    again(run, "readout-s0", lambda v: replace(v, after={t: table.iloc[::-1] for t, table in v.after.items()}))
    with pytest.raises(AccordError, match="not of the same items"):
        write_report(run)


def test_foreign_text_stays_text(tmp_path: Path) -> None:
    run = write_run(tmp_path / "demo", {"readout": MADE["readout"]}, trials=TRIALS, n=40)
    foreign = Run(run)
    answers, verdict = foreign["answers/hypernymy"], foreign["verdict/readout-s0"]
    damage, pathway = foreign["damage/readout-s0"], foreign["pathway/readout-s0"]
    shutil.rmtree(run)

    def strange(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
        columns = ("answer", "generator_prompt", "validator_prompt", "group")
        return {
            t: s.assign(**{c: [f"{HOSTILE} {i}" for i in range(len(s))] for c in columns}) for t, s in tables.items()
        }

    publish_result(run, "answers", "base", Answers(strange(answers.scores)))
    about = {**verdict.about, "base": "base", "repair": f"{HOSTILE} readout", "kind": HOSTILE, "task": HOSTILE}
    titles = dict.fromkeys(verdict.titles, HOSTILE)
    publish_result(run, "verdict", "a-s0", replace(verdict, about=about, titles=titles, after=strange(verdict.after)))
    record = json.dumps({"about": {HOSTILE: HOSTILE}, "change": {}, "base": {}})
    publish_result(run, "repair", "a-s0", None, files={"repair.json": record})
    groups = [HOSTILE if i % 2 else group for i, group in enumerate(damage.table["group"])]
    free = pd.DataFrame([{"prompt": HOSTILE, "base": HOSTILE * 99, "repaired": ""}])
    table = damage.table.assign(group=groups)
    publish_result(run, "damage", "a-s0", replace(damage, sentence=HOSTILE, table=table, free=free))
    readout = pathway.readout.assign(items=[HOSTILE if i == "test" else i for i in pathway.readout["items"]])
    cka = pathway.cka.assign(form=[HOSTILE if form == "generator" else form for form in pathway.cka["form"]])
    publish_result(run, "pathway", "a-s0", replace(pathway, about={"tests": [HOSTILE]}, readout=readout, cka=cka))
    html = write_report(run).read_text(encoding="utf-8")
    page = Page(html)
    assert own_scripts(html)
    assert len(page.all("style")) == 1
    assert asks_network(html) == []
    assert html.count(HOSTILE) == 0
    assert "{{ 7 * 7 }}" in page.text
    assert "more characters are in generations.jsonl" in page.text
    assert "No text at all." in page.text


def test_the_items_that_moved_most_are_those_of_a_plain_loop(whole: Path) -> None:
    (repair,) = [r for r in group_of(whole).repairs if r.label == "readout"]
    tables = [pd.read_parquet(whole / name / "test.parquet") for name in ("answers/hypernymy", "verdict/readout-s0")]
    moved = []
    for i in range(120):
        steps = []
        for form in ("generator_logodds", "validator_logodds"):
            below = [sum(v < table[form][i] for v in table[form]) for table in tables]
            steps.append(abs(below[1] - below[0]))
        moved.append(max(steps))
    order = np.argsort([-m for m in moved], kind="stable")[:10]
    items = changed_items(repair, "test")
    assert [item["answer"] for item in items] == [tables[0]["answer"][i] for i in order]
    first, i = items[0]["forms"]["validator"], order[0]
    assert first["own"] in tables[0]["validator_prompt"][i]
    before, after = (f"{table['validator_logodds'][i]:.2f}".replace("-", "−") for table in tables)
    assert first["logodds"] == f"{before} → {after}"
    assert items[0]["gold"] == tables[0]["gold"][i]


def test_a_shift_of_all_items_moves_none(whole: Path) -> None:
    (repair,) = [r for r in group_of(whole).repairs if r.label == "readout"]
    seed = repair.first
    assert seed.base is not None
    base = seed.base.scores["test"]
    shifted = {"test": base.assign(validator_logodds=2 * base["validator_logodds"] - 7)}
    same = replace(seed, verdict=replace(seed.verdict, after=shifted))
    assert changed_items(JudgedRepair("readout", [same]), "test") == []


def test_wreckage_and_crowds_draw(whole: Path) -> None:
    wreck, *_ = group_of(whole).repairs
    with style.house_style():
        many = [JudgedRepair(f"repair {i}", wreck.seeds) for i in range(MOST_PANELS + 2)]
        drawn = draw_every_repair(RepairGroup("hypernymy", many))
        assert drawn is not None and f"Shown: {MOST_PANELS} of {MOST_PANELS + 2} repairs." in drawn.caption
        closure = draw_closure(RepairGroup("hypernymy", many))
        assert closure is not None and "closes" in closure.title
        assert draw_every_repair(RepairGroup("hypernymy", many[:1])) is None


PROMPTS = 12


def with_prompts(scores: pd.DataFrame) -> pd.DataFrame:
    """Each item answers one of a few prompts, whose answers are all said more, or all less, readily than others'."""
    prompt = np.arange(len(scores)) // 2 % PROMPTS
    level = 8 * np.random.default_rng(0).normal(size=PROMPTS)[prompt]
    prompts = [f"prompt {i}" for i in prompt]
    return scores.assign(generator_prompt=prompts, generator_logodds=scores["generator_logodds"] + level)


@pytest.mark.usefixtures("undrawn")
def test_within_prompts_stands_beside_all_items(run: Path) -> None:
    (chapter,) = chapters(Run(run))
    assert chapter.shown["within"] is None and "within prompts" not in read(run).text
    before = {t: with_prompts(scores) for t, scores in Answers.read(run / "answers" / "hypernymy").scores.items()}
    shutil.rmtree(run / "answers" / "hypernymy")
    publish_result(run, "answers", "hypernymy", Answers(before))

    def retold(verdict: Verdict) -> Verdict:
        after = {t: with_prompts(scores) for t, scores in verdict.after.items()}
        return replace(verdict, after=after, changes={t: compare(before[t], after[t]) for t in after})

    for label in ("rankalign-s0", "rankalign-s1", "readout-s0", "sft-union-s0"):
        again(run, label, retold)
    (chapter,) = chapters(Run(run))
    within = chapter.shown["within"]
    parts = {part["term"].label: part["rows"] for part in within["parts"]}
    assert len(parts) == 6 and [row["label"] for row in parts["Generator AUC, within prompts"]] == list(SOME)
    readout = next(row for row in parts["Validator AUC, within prompts"] if row["label"] == "readout")
    scores = Verdict.read(run / "verdict" / "readout-s0").after["test"]

    def auc(table: pd.DataFrame) -> float:
        return float(roc_auc_score(table["gold"], table["validator_logodds"]))

    def mean_auc(table: pd.DataFrame) -> float:
        return float(np.mean([auc(rows) for _, rows in table.groupby("generator_prompt")]))

    values = [cell["value"] for cell in readout["cells"]]
    for place, of in ((0, mean_auc), (2, auc)):
        was, now = of(before["test"]), of(scores)
        assert values[place] == f"{was:.2f} → {now:.2f}".replace("0.", ".")
        assert values[place + 1].replace("−", "-") == f"{now - was:+.3f}".replace("0.", ".")
        assert readout["cells"][place]["interval"] and readout["cells"][place + 1]["interval"]
    alone = parts["Concordance, within prompts"][0]["cells"]  # over all items there is none
    assert alone[0]["value"] != "–" and [cell["value"] for cell in alone[2:]] == ["–", "–"]
    page = read(run)
    assert f"the mean over {PROMPTS} of {PROMPTS} prompts" in page.text
    assert f"Among the answers to one prompt, {chapter.shown['best']} takes r from" in page.text
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids)) and "measure-concordance-within-prompts" in ids
    trials = chapter.shown["trials"]
    assert len(trials["columns"]) == 8 and {len(row["cells"]) for row in trials["rows"]} == {8}
