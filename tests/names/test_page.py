"""The concept dictionary on the page: what it claims of names, what is embedded and what that costs, safety."""

import base64
import hashlib
import json
import math
import re

import pandas as pd
import pytest

from accord.names.concept_json import FILLS, embed
from accord.names.findings import names_finding
from accord.names.page import chapters, percent
from accord.report.html import write_report
from accord.study.run_folder import Run
from tests.report.meaning_folder import make_names, write_names, write_steering
from tests.report.test_html import HOSTILE, Page, asks_network, own_scripts


def html_of(run):
    return write_report(run).read_text(encoding="utf-8")


def records(html):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)[1])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = tmp_path_factory.mktemp("named") / "run"
    write_names(run)
    write_steering(run)
    return run


def test_every_concept_is_embedded_as_it_was_written(run):
    table = pd.read_parquet(run / "names" / "lcblm-s0" / "concepts.parquet").set_index("concept")
    examples = pd.read_parquet(run / "names" / "lcblm-s0" / "examples.parquet")
    entries = {entry["k"]: entry for entry in records(html_of(run))}
    assert list(entries) == table.index.tolist()
    for k, entry in entries.items():
        row = table.loc[k]
        assert entry.get("n") == (row["name"] if isinstance(row["name"], str) else None)
        assert entry["r"] == pytest.approx(row["rate"], rel=6e-3)
        assert entry.get("d", math.nan) == pytest.approx(row["detection"], rel=6e-3, nan_ok=True)
        assert [t for t, _ in entry["up"]] == [t["token"] for t in row["promoted"]]
        assert entry["h"] == list(row["histogram"]) and entry["e"] == [1, 9]
        own = examples[(examples["concept"] == k) & (examples["kind"] != "on")]
        assert {(e[3], e[4]) for e in entry["ex"]} == set(zip(own["before"], own["token"], strict=True))
        assert ("st" in entry) == (k < 20)
    assert "To stay light" not in html_of(run)


def test_steering_of_a_concept_stands_with_it(run):
    steered = Run(run)["steering/lcblm-s0"].table
    entry = records(html_of(run))[3]
    off = next(row for row in entry["st"] if row[0] == "turned off")
    mine = steered[(steered["concept"] == 3) & (steered["kind"] == "factor") & (steered["dose"] == 0)]
    own = mine[mine["control"] == "concept"].iloc[0]
    assert off[2] == pytest.approx([own["value"], own["low"], own["high"]], rel=6e-3)
    assert off[5] == int(own["acts"])


@pytest.mark.parametrize("share", [0.7, 0.5, 0.1])
def test_the_budget_is_kept_and_told(share):
    named = make_names()
    whole = embed(named, None, None, 10**9)
    assert whole.fill == FILLS[0] and whole.concepts == 60
    budget = int(len(whole.text.encode()) * share)
    small = embed(named, None, None, budget)
    assert len(small.text.encode()) <= budget + 2
    assert small.fill != FILLS[0]
    kept = json.loads(small.text)
    assert len(kept) == small.concepts and kept[0]["k"] == 0
    assert (small.concepts < 60) == (share == 0.1)
    assert all(len(entry["t"]) <= small.fill.tokens for entry in kept)


def test_the_page_says_what_was_left_out(run, monkeypatch):
    monkeypatch.setattr("accord.names.page.BUDGET", 9000)
    text = Page(html_of(run)).text
    assert "To stay light, this page holds the first" in text and "of 60 concepts" in text


@pytest.mark.parametrize(
    ("detection", "fuzzing", "n", "wanted"),
    [
        ((0.1, 0.05, 0.15), (0.1, 0.01, 0.2), 40, "say more of lcblm-s0's concepts than shuffled names do"),
        ((0.1, 0.05, 0.15), (0.1, -0.01, 0.2), 40, "do in detection, not measurably in fuzzing"),
        ((0.1, -0.05, 0.25), (0.0, -0.01, 0.2), 40, "cannot be told from shuffled names"),
        ((-0.1, -0.15, -0.05), (0.0, -0.1, 0.1), 40, "worse than shuffled names do in detection"),
        ((0.3, 0.25, 0.35), (0.3, 0.25, 0.35), 5, "too few to say"),
    ],
)
def test_no_claim_beyond_the_intervals(detection, fuzzing, n, wanted):
    gains = {
        f"{task}_gain": {"value": value, "low": low, "high": high, "n": n}
        for task, (value, low, high) in (("detection", detection), ("fuzzing", fuzzing))
    }
    finding = names_finding("lcblm-s0", make_names(metrics=gains))
    assert wanted in finding.headline
    assert f"of shuffled names ({n} concepts)" in finding.evidence and len(finding.evidence) < 130
    assert "40 of 60 concepts asked have a name" in finding.details
    assert "difference from shuffled names" in finding.details


def test_without_scores_nothing_is_claimed(tmp_path):
    write_names(tmp_path, scored=False)
    assert names_finding("lcblm-s0", make_names(scored=False)) is None
    text = Page(html_of(tmp_path)).text
    assert "Concept dictionary" in text and "Own name" not in text
    assert "20 without a name, and why" in text and "broken JSON 2" in text


def test_only_the_pages_own_script_may_run(run):
    html = html_of(run)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(scripts) == 2  # what folds, and the dictionary
    words = " ".join(f"'sha256-{digest}'" for digest in digests)
    assert policy.startswith("default-src 'none'; ") and f"script-src {words};" in policy
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", "".join(scripts))
    assert not asks_network(html) and "http://" not in html and "https://" not in html


def test_hostile_names_tokens_and_examples_stay_text(tmp_path):
    nasty = (HOSTILE, "</script><script>alert(1)</script>", "<!--<script>", "\u2028]]>&quot;")
    write_names(tmp_path, words=nasty * 3, names=nasty * 2)
    html = html_of(tmp_path)
    assert own_scripts(html) and len(re.findall("<script", html)) == 3 == len(re.findall("</script", html))
    assert "<!--" not in html
    assert records(html)[1]["n"] == f"{nasty[1]} 1"
    assert not asks_network(html)


def test_the_plain_table_shows_the_best_and_what_others_point_to(run):
    page = Page(html_of(run))
    ids = [row["id"] for row in page.all("tr") if "id" in row]
    table = pd.read_parquet(run / "names" / "lcblm-s0" / "concepts.parquet")
    best = table.assign(score=table[["detection", "fuzzing"]].mean(axis=1)).sort_values("score", ascending=False)
    assert ids[0] == f"concept-lcblm-s0-{best['concept'].iloc[0]}"
    assert {f"concept-lcblm-s0-{k}" for k in range(20)} <= set(ids)
    assert len(ids) < 60


def test_failures_are_told_up_to_a_number(tmp_path):
    write_names(tmp_path, concepts=90)
    (chapter,) = chapters(Run(tmp_path))
    failures = chapter.shown["models"][0]["failures"]
    assert (failures["total"], failures["more"], failures["others"], len(failures["rows"])) == (30, 10, 0, 20)
    assert failures["rows"][0] == {"concept": "2", "why": "broken JSON 2"}


def test_shares_as_per_cent():
    assert [percent(x) for x in (0.5, 0.0995, 0.027, 0.0012)] == ["50 %", "10 %", "2.7 %", ".12 %"]
