"""The page: what it says, that it is safe, and that it asks nothing of the network."""

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest

from accord.capabilities import part
from accord.disk import lock
from accord.errors import AccordError
from accord.gap.page import gaps_of
from accord.report.header import precision
from accord.report.html import write_figures, write_report
from accord.report.metric import metric_in, metric_of, plain
from accord.report.prompts import shared_beginning
from accord.report.wording import interval, number
from accord.sealed import sealed_json
from accord.study.check import check
from accord.study.made_from import report_is_new
from accord.study.report_file import bring_report
from accord.study.run_folder import Run

Writer = Callable[..., Path]
Scores = Callable[..., pd.DataFrame]

VOID = {"meta", "link", "br", "hr", "img", "input", "path", "use", "rect", "line"}


class Page(HTMLParser):
    """Checks that tags are balanced; collects elements and what the reader reads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    @property
    def pictures(self) -> list[dict[str, str]]:
        """What is drawn, once: a wide one is there for a phone too."""
        return [a for _, a in self.elements if a.get("role") == "img" and "on-phone" not in a.get("class", "")]

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def html(run_folder: Path) -> str:
    path = write_report(run_folder)
    assert path == run_folder / "report.html"
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def asks_network(html: str) -> list[str]:
    """What a browser would fetch: addresses in attributes that load, in url() and @import."""
    loading = r'(?:src|srcset|poster|data|action|(?:xlink:)?href)\s*=\s*["\']?\s*(?:https?:|//)[^"\'>\s]*'
    return re.findall(rf"{loading}|url\(\s*[\"']?\s*(?:https?:|//)[^)]*|@import[^;]*", html, flags=re.IGNORECASE)


def own_scripts(html: str) -> bool:
    """Whether no script runs but those that the policy of the page names; others are data, and nothing leaves it."""
    policy = unescape(re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)[0])
    data = re.findall(r'<script type="application/json">(.*?)</script>', html, flags=re.DOTALL)
    run = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in run]
    return (
        html.count("<script") == len(data) + len(run)
        and all("<" not in text and json.loads(text) for text in data)
        and re.findall(r"'sha256-([^']+)'", policy) == digests
    )


def test_verdict_and_numbers_are_those_of_the_metrics(page: Page, run_folder: Path) -> None:
    metrics = json.loads((run_folder / "gap" / "hypernymy" / "metrics.json").read_text())
    assert "smollm2-135m knows more than it affirms It ranks right answers above wrong ones" in page.text
    assert "over 240 items." in page.text
    for name in ("generator_auc", "validator_auc", "pearson_all", "pearson_yes", "pearson_no", "mrr_yes"):
        metric = metric_of(metrics[name])
        assert f"{number(metric.value)} {interval(metric)}".replace("\N{NO-BREAK SPACE}", " ") in page.text


def test_order_and_contents(page: Page, run_folder: Path) -> None:
    manifest = json.loads((run_folder / "gap" / "hypernymy" / "manifest.json").read_text())
    wanted = [f"Measured {manifest['finished'][:10]}", "Finding Measures", "Glossary"]  # the list of contents
    wanted += ["Finding Does smollm2-135m affirm", "The two forms disagree on", "Measures", "arXiv 2504.11381"]
    wanted += ["All 11 measures", "Pictures"]
    wanted += ["Where the two forms disagree", "By similarity", "The widest disagreements", "Says it, but denies it"]
    wanted += ["Affirms it, but would not say it", "Settings", "validator.shots", "Versions", "torch", "Files"]
    wanted += ["How it was made", "Glossary", "Readout"]
    place = 0
    for words in wanted:
        place = page.text.find(words, place)
        assert place >= 0, words
    assert " ".join(manifest["command"].split()) in page.text


def test_asks_nothing_of_the_network(html: str, page: Page) -> None:
    assert asks_network(html) == []
    assert "http://" not in html
    assert "https://" not in html
    assert not page.all("link") and not any("src" in script for script in page.all("script"))
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_semantics(html: str, page: Page) -> None:
    assert html.startswith("<!doctype html>")
    assert page.all("html")[0]["lang"] == "en"
    assert [len(page.all(tag)) for tag in ("header", "main", "footer", "h1")] == [1, 1, 1, 1]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids
        for label in attributes.get("aria-labelledby", "").split():
            assert label in ids
    pictures = page.pictures
    assert len(pictures) == 6
    assert all(len(a["aria-label"]) > 40 for a in pictures)
    assert page.all("a")[0]["class"] == "skip"


def test_prompts_are_shown_in_full(page: Page, run_folder: Path) -> None:
    scores = pd.read_parquet(run_folder / "gap" / "hypernymy" / "scores.parquet")
    shared = shared_beginning(scores["validator_prompt"].tolist())
    assert shared.endswith("Answer: No\n")
    assert " ".join(shared.split()) in page.text
    assert sum(p.removeprefix(shared) in page.text for p in scores["validator_prompt"]) >= 6
    assert len(page.all("li")) > 12
    assert f"The item: “{scores['generator_prompt'][0]}” → “{scores['answer'][0]}”, a right answer." in page.text


def test_links_lead_to_files(page: Page, run_folder: Path) -> None:
    links = [a["href"] for a in page.all("a") if not a["href"].startswith("#")]
    assert "./gap/hypernymy/scores.parquet" in links
    assert all((run_folder / unquote(link)).is_file() for link in links)


HOSTILE = "</style><script>alert('x')</script>\n\"quoted\" & $x_1$ 🐝 \u202eשלום {{ 7 * 7 }}"


def test_foreign_text_stays_text(
    tmp_path: Path,
    gap_writer: Writer,
    gap_scores: Scores,
    gap_maker: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = gap_scores(60)
    for column in ("noun1", "answer", "generator_prompt", "validator_prompt"):
        scores[column] = [f"{HOSTILE} {i}" for i in range(len(scores))]
    scores["group"] = [f"{HOSTILE} {i % 3}" for i in range(len(scores))]
    scores["similarity"] = HOSTILE
    gap = gap_maker(scores, metrics={f"<i>{HOSTILE}": {"value": 1.0, "low": None, "high": None, "reason": HOSTILE}})
    gap.lens["token"] = gap.lens["top"] = HOSTILE
    monkeypatch.setattr("accord.study.provenance.command", lambda: HOSTILE)
    monkeypatch.setattr("accord.study.provenance.versions", lambda: {HOSTILE: HOSTILE})
    monkeypatch.setattr("accord.study.store._now", lambda: HOSTILE)
    run = tmp_path / "<b>run"
    gap_writer(run / "gap" / "javascript:alert(1)", model=HOSTILE, gap=gap)
    (run / "study.toml").write_text(f"name = {json.dumps(HOSTILE)}\n", encoding="utf-8")
    html = write_report(run).read_text(encoding="utf-8")
    page = Page(html)
    assert own_scripts(html)
    assert len(page.all("i")) == 4  # the page's own
    assert len(page.all("style")) == 1
    assert asks_network(html) == []
    assert not [a for a in page.all("a") if a["href"].lower().startswith("javascript")]
    assert "{{ 7 * 7 }}" in page.text
    assert html.count(HOSTILE) == 0
    assert unescape(html).count("alert('x')") > 20


def test_without_layers_the_page_says_how_to_get_them(tmp_path: Path, gap_writer: Writer) -> None:
    page = Page(write_report(gap_writer(tmp_path / "gap", layers=False)).read_text(encoding="utf-8"))
    assert "Not here: curves by layer, layer by layer matrix, token map." in page.text
    assert "measure again with --layers" in page.text
    assert "Best AUC" not in page.text
    assert len(page.pictures) == 3


def test_without_categories(tmp_path: Path, gap_writer: Writer, gap_scores: Scores) -> None:
    scores = gap_scores(60).assign(group=None, similarity=None)
    page = Page(write_report(gap_writer(tmp_path / "gap", scores, layers=False)).read_text(encoding="utf-8"))
    assert "fewer than two categories" in page.text
    assert "By similarity" not in page.text
    assert "smollm2-135m knows more than it affirms" in page.text


def test_nothing_denied_is_said_plainly(tmp_path: Path, gap_writer: Writer, gap_scores: Scores) -> None:
    scores = gap_scores(60)
    scores["validator_logodds"] += 20
    page = Page(write_report(gap_writer(tmp_path / "gap", scores, layers=False)).read_text(encoding="utf-8"))
    assert "There is no such item." in page.text
    assert "it says yes to 100% of the items" in page.text


def test_several_gaps(tmp_path: Path, gap_writer: Writer, gap_scores: Scores) -> None:
    gap_writer(tmp_path / "gap" / "first", gap_scores(60), layers=False)
    other = gap_scores(60, knows=0, affirms=3)
    gap_writer(tmp_path / "gap" / "second", other, layers=False, model="gemma3-270m")
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "Overview" in page.text
    verdicts = ["smollm2-135m knows more than it affirms", "gemma3-270m knows more than it says"]
    assert -1 < page.text.find(verdicts[0]) < page.text.find(verdicts[1])
    folded = [a["id"] for a in page.all("details") if a.get("class") == "stage"]
    assert folded == ["gap-1", "gap-2", "making", "glossary"]
    assert [a["id"] for a in page.all("section") if a.get("class") == "stage"] == ["overview"]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_a_heavy_study_stays_light(
    tmp_path: Path, gap_writer: Writer, gap_scores: Scores, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        gap_writer(tmp_path / "gap" / name, gap_scores(60), layers=False)
    monkeypatch.setattr("accord.gap.page.FIGURE_BUDGET", 1000)
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "too heavy to share" in page.text
    assert len(page.pictures) == 5  # one of them tells how the run was made


def test_a_run_under_way_says_what_is_to_come_and_loads_its_page_again(run_folder: Path) -> None:
    text = write_report(run_folder, coming=["heads", "<verdict>"]).read_text(encoding="utf-8")
    page = Page(text)
    assert '<meta http-equiv="refresh" content="15">' in text
    assert "still to come: heads, &lt;verdict&gt;." in text and "This run is under way" in page.text
    whole = write_report(run_folder).read_text(encoding="utf-8")
    assert "refresh" not in whole and "under way" not in Page(whole).text


def test_a_run_that_was_stopped_says_what_it_lacks_and_no_longer_loads_its_page(run_folder: Path) -> None:
    write_report(run_folder, coming=["heads"])
    assert not report_is_new(Run(run_folder, verified=True))
    manifest = json.loads((run_folder / "gap" / "hypernymy" / "manifest.json").read_text())
    stages = {"gap/hypernymy": manifest["fingerprint"], "verdict/x-s0": "0" * 64}
    (run_folder / "plan.json").write_text(json.dumps({"command": "accord run s.toml", "stages": stages}))
    text = bring_report(run_folder).read_text(encoding="utf-8")
    assert "This run is not complete" in text and "still to come: verdict." in text and "refresh" not in text
    assert report_is_new(Run(run_folder, verified=True))
    with lock(run_folder.resolve()):  # as a run that lives holds it
        assert 'http-equiv="refresh"' in write_report(run_folder).read_text(encoding="utf-8")
    (run_folder / "plan.json").unlink()
    assert "not complete" not in write_report(run_folder).read_text(encoding="utf-8")


def test_results_that_no_longer_belong_together_are_told(run_folder: Path) -> None:
    path = run_folder / "gap" / "hypernymy" / "manifest.json"
    manifest = json.loads(path.read_text())
    other = {**manifest, "name": "gap/other", "fingerprint": "f" * 64}
    other["inputs"] = {"model": {"stage": "gap/hypernymy", "fingerprint": "0" * 64}}
    shutil.copytree(path.parent, run_folder / "gap" / "other")
    del other["digest"]
    (run_folder / "gap" / "other" / "manifest.json").write_text(sealed_json(other))
    page = Page(write_report(run_folder).read_text(encoding="utf-8"))
    assert "no longer belong together" in page.text and "gap/other" in page.text
    assert [problem.path.name for problem in check(run_folder)] == ["run.json", "other"]  # it has no list
    shutil.rmtree(run_folder / "gap" / "other")


def test_precision_is_told_by_stage_where_a_kind_has_two(run_folder: Path) -> None:
    def run(**found: str) -> Any:
        manifests = {name: {"stage": name.partition("_")[0], "facts": {"dtype": of}} for name, of in found.items()}
        return SimpleNamespace(manifests=manifests)

    assert precision(run(gap="float32", embeddings="bfloat16")) == "float32; embeddings made in bfloat16"
    found = precision(run(gap="float32", repair_a="bfloat16", repair_b="float32", embeddings="bfloat16"))
    assert found == "float32; repair_a, embeddings made in bfloat16"
    texts = {f"texts_{i}": "bfloat16" for i in range(3)}
    found = precision(
        run(gap="float32", heads="float32", verdict="float32", damage="float32", texts_9="float32", **texts)
    )
    assert found == "float32; 3 of 4 texts made in bfloat16"
    assert precision(run()) == ""


def test_a_run_with_nothing_to_show_yet_has_a_page_all_the_same(tmp_path: Path) -> None:
    text = write_report(tmp_path, coming=["gap"]).read_text(encoding="utf-8")
    assert "still to come: gap." in Page(text).text


def test_same_folder_same_page(run_folder: Path, html: str) -> None:
    assert write_report(run_folder).read_text(encoding="utf-8") == html
    assert [p.name for p in run_folder.iterdir() if p.name.startswith(".")] == []


def test_long_prompts_are_cut_with_a_word(tmp_path: Path, gap_writer: Writer, gap_scores: Scores) -> None:
    scores = gap_scores(40)
    scores["generator_prompt"] = [f"{i} " + "very " * 5000 for i in range(len(scores))]
    path = write_report(gap_writer(tmp_path / "gap", scores, layers=False))
    assert "earlier characters are in scores.parquet" in path.read_text(encoding="utf-8")
    assert path.stat().st_size < 1_000_000


TOY = """<p>{{ chapter.title }}: {{ shown.words }}{% if alone %}, alone{% endif %}</p>"""
TOY_PAGE = """
from pathlib import Path

from matplotlib.figure import Figure

from accord.report.chapter import Chapter
from accord.report.drawn import Drawn
from accord.report.finding import Finding


def chapters(run):
    shown = {"findings": [Finding("A toy was found")], "words": "<" + ", ".join(run) + ">"}
    template = Path(__file__).parent / "page.html"
    return [Chapter("toy", "Toys", template, shown, leads=True, brackets="of toys", script="1 < 2")]


def figures(run):
    return [Drawn("toy", Figure(), "A toy", "Nothing", "Nothing")]
"""


def test_a_capability_brings_its_own_chapter_and_figures(
    tmp_path: Path, gap_writer: Writer, gap_scores: Scores, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "code" / "shown_capability"
    package.mkdir(parents=True)
    for name, text in {"__init__.py": "", "page.py": TOY_PAGE, "page.html": TOY}.items():
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr("accord.report.html.CAPABILITIES", ("accord.gap", "shown_capability"))
    assert part("shown_capability", "stage") is None
    run = tmp_path / "run"
    gap_writer(run / "gap" / "one", gap_scores(60), layers=False)
    html = write_report(run).read_text(encoding="utf-8")
    folded = [a["id"] for a in Page(html).all("details") if a.get("class") == "stage"]
    assert folded == ["toy", "gap-1", "making", "glossary"]
    assert "<p>Toys: &lt;gap/one&gt;</p>" in html and "A toy was found" in html
    assert "over the items; those of toys." in html
    digest = base64.b64encode(hashlib.sha256(b"1 < 2").digest()).decode()
    assert "<script>1 < 2</script>" in html and f"'sha256-{digest}'" in html and own_scripts(html)
    assert [path.relative_to(run).as_posix() for path in write_figures(run)] == ["figures/toy.svg", "figures/toy.png"]


def test_a_folder_with_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(AccordError, match="no measured gap"):
        write_report(tmp_path)
    with pytest.raises(AccordError, match="no such run folder"):
        write_report(tmp_path / "nowhere")


def test_a_damaged_result_is_one_clear_error(tmp_path: Path, gap_writer: Writer, gap_scores: Scores) -> None:
    folder = gap_writer(tmp_path / "gap" / "one", gap_scores(20), layers=False)
    (folder / "scores.parquet").write_text("not a table")
    with pytest.raises(AccordError, match=r"This stage is damaged[\s\S]*gap/one[\s\S]*scores[\s\S]*accord check"):
        write_report(tmp_path)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(AccordError, match=r"This stage is damaged[\s\S]*manifest\.json"):
        write_report(tmp_path)


def test_gaps_stand_in_the_order_of_measurement(
    tmp_path: Path, gap_writer: Writer, gap_scores: Scores, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(f"2025-01-01T00:00:{second:02}" for second in range(60))
    monkeypatch.setattr("accord.study.store._now", lambda: next(clock))
    for label in ("b", "a", ".c.partial"):
        gap_writer(tmp_path / "gap" / label, gap_scores(20), layers=False)
    assert [gap.label for gap in gaps_of(Run(tmp_path))] == ["b", "a"]


def test_a_measure_that_is_not_defined(tmp_path: Path, gap_writer: Writer, gap_scores: Scores) -> None:
    nothing = {"value": None, "low": None, "high": None}
    run = gap_writer(tmp_path / "gap", gap_scores(20), layers=False, metrics={"pearson_yes": nothing}).parent
    [gap] = gaps_of(Run(run / "gap"))
    assert (gap.name, gap.model, gap.task) == ("gap", "smollm2-135m", "hypernymy")
    assert not metric_in(gap.gap.metrics, "pearson_yes").known
    assert not metric_in(gap.gap.metrics, "never heard of").known
    assert plain("a\nb \u202ec") == "a b c"
