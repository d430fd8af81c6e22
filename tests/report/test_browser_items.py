"""All items of a gap in a real browser: found, filtered, sorted, opened, copied, and under the points of a scatter."""

import csv
import io

import pandas as pd
import pytest
from playwright.sync_api import expect
from tests.axe import check_accessible, needs_axe
from tests.report.test_browser import a_tab, browser, pytestmark, tab  # noqa: F401  # fixtures, and where they are missing
from tests.verdict.repaired_run import MADE, write_run

from accord.gap.slices import judged
from accord.report.html import write_report

DATA = "JSON.parse(document.querySelector('.items-table script').textContent)"


@pytest.fixture(scope="module")
def run(run_folder):
    return write_report(run_folder).as_uri(), judged(pd.read_parquet(run_folder / "gap/hypernymy/scores.parquet"))


@pytest.fixture
def opened(tab, run):  # noqa: F811
    tab.goto(run[0])
    return tab


def counted(tab):  # noqa: F811
    return int(tab.locator(".items-table output").inner_text().split()[0].replace(",", ""))


def numbers(tab):  # noqa: F811
    return [int(cell) for cell in tab.locator(".rows tbody th").all_text_contents()]


def test_search_and_filters_find_what_a_plain_loop_finds(opened, run):
    _, scores = run
    controls = opened.locator(".items-table .controls")
    assert counted(opened) == 240
    controls.get_by_label("Search prompts and answers").fill("BEES insect")
    words = [scores["generator_prompt"], scores["validator_prompt"], scores["answer"]]
    hits = sum(all(word in " ".join(row).lower() for word in ("bees", "insect")) for row in zip(*words, strict=True))
    assert counted(opened) == hits > 0
    controls.get_by_role("button", name="Clear").click()
    for label, kind in (("said, denied", scores["says"] & ~scores["affirms"]),
                        ("affirmed, not said", scores["affirms"] & ~scores["says"]),
                        ("the two disagree", scores["says"] != scores["affirms"])):  # fmt: skip
        controls.get_by_label("The two forms").select_option(label)
        for gold in (True, False):
            controls.get_by_label("Answers that are").select_option("right" if gold else "wrong")
            assert counted(opened) == (kind & (scores["gold"] == gold)).sum()
    controls.get_by_role("button", name="Clear").click()
    controls.get_by_label("Group").select_option("insect")
    assert counted(opened) == (scores["group"] == "insect").sum()
    assert set(numbers(opened)) <= set(scores.index[scores["group"] == "insect"])


def test_sort(opened, run):
    _, scores = run
    head = opened.locator(".rows thead")
    assert numbers(opened)[0] == scores["distance"].abs().idxmax()
    head.get_by_role("button", name="Said").click()
    assert numbers(opened)[:5] == scores["generator_logodds"].nlargest(5).index.to_list()
    head.get_by_role("button", name="Said").click()
    assert numbers(opened)[:5] == scores["generator_logodds"].nsmallest(5).index.to_list()
    expect(head.locator("[data-key=l0]")).to_have_attribute("aria-sort", "ascending")
    expect(head.locator("[data-key=l0] button")).to_be_focused()


def test_a_link_opens_its_item_and_escape_closes_it(tab, run):  # noqa: F811
    url, scores = run
    tab.goto(f"{url}#item-17")
    view = tab.locator("article.item")
    expect(view.locator("h4")).to_be_focused()
    text = view.inner_text()
    for words in (
        scores["generator_prompt"][17],
        "item 17",
        f"{scores['generator_logodds'][17]:.2f}".replace("-", "−"),
    ):
        assert words in text
    view.get_by_role("link", name="Next").click()
    assert tab.evaluate("location.hash") != "#item-17"
    tab.keyboard.press("Escape")
    expect(view).to_be_hidden()
    expect(tab.locator(".items-table .controls")).to_be_visible()
    tab.goto(f"{url}#item-999")
    expect(view).to_contain_text("It is not in this list")


def test_the_keyboard_goes_from_item_to_item(opened):
    links = opened.locator(".rows tbody a")
    links.first.focus()
    first = numbers(opened)
    for _ in range(45):  # beyond what has a row at first
        opened.keyboard.press("ArrowDown")
    place = opened.evaluate("document.activeElement.closest('tr').getAttribute('aria-rowindex')")
    assert int(place) == 2 + 45 and numbers(opened) != first
    assert opened.locator(".rows").get_attribute("aria-rowcount") == "241"
    opened.keyboard.press("Enter")
    expect(opened.locator("article.item")).to_be_visible()


def test_what_is_shown_is_copied_and_saved_as_csv(opened, run):
    _, scores = run
    opened.locator(".items-table .controls").get_by_label("The two forms").select_option("said, denied")
    opened.evaluate(
        """() => {
          navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); };
          URL.createObjectURL = (blob) => { blob.text().then((text) => { window.saved = text; }); return "#"; };
        }"""
    )
    opened.get_by_role("button", name="Copy as CSV").click()
    expect(opened.locator(".counted [role=status]")).to_have_text("Copied.")
    opened.get_by_role("button", name="Download CSV").click()
    opened.wait_for_function("window.saved")
    copied, saved = opened.evaluate("window.copied"), opened.evaluate("window.saved")
    assert saved.removeprefix("\ufeff") == copied
    rows = list(csv.DictReader(io.StringIO(copied)))
    wanted = scores[scores["says"] & ~scores["affirms"]]
    assert {int(row["item"]) for row in rows} == set(wanted.index)
    for row in rows:
        item = wanted.loc[int(row["item"])]
        assert all(row[name] == item[name] for name in ("generator_prompt", "validator_prompt", "answer"))
        assert float(row["generator_logodds"]) == pytest.approx(item["generator_logodds"], abs=1e-4)
        assert (row["said"], row["affirmed"]) == ("yes", "no")


def test_a_point_tells_its_item_and_opens_it(opened, run):
    _, scores = run
    plot = opened.locator(".scatter .plot").first
    plot.scroll_into_view_if_needed()
    far = scores["generator_logodds"].idxmin()  # nothing lies near it
    x, y = opened.evaluate(
        """([i, side]) => {
          const plot = document.querySelector(".scatter .plot"), svg = plot.querySelector("svg");
          const [plane] = JSON.parse(plot.dataset.planes), box = svg.getBoundingClientRect();
          const scale = box.width / svg.viewBox.baseVal.width;
          const at = (value, [from, to, low, high]) => scale * (from + (value - low) / (high - low) * (to - from));
          return [box.left + at(side.l[i], plane.x), box.top + at(side.v[i], plane.y)];
        }""",
        [int(far), opened.evaluate(DATA)["s"][0]],
    )
    opened.mouse.move(x + 2, y - 2)
    tip = opened.locator(".tip")
    expect(tip).to_be_visible()
    assert tip.inner_text().startswith(f"{far} ") and scores["generator_prompt"][far] in tip.inner_text()
    opened.mouse.click(x, y)
    assert opened.evaluate("location.hash") == f"#item-{far}"
    expect(opened.locator("article.item h4")).to_be_focused()


def test_before_and_after_a_repair(tab, tmp_path):  # noqa: F811
    folder = write_run(tmp_path / "run", {"readout": MADE["readout"]}, trials=["test"], n=60)
    tab.goto(write_report(folder).as_uri())
    before, after = (
        judged(pd.read_parquet(folder / name / "test.parquet")) for name in ("answers/hypernymy", "verdict/readout-s0")
    )
    controls = tab.locator(".items-table .controls")
    controls.get_by_label("The two forms").select_option("affirmed, not said")
    assert counted(tab) == (before["affirms"] & ~before["says"]).sum()
    controls.get_by_label("As of").select_option("after")
    assert counted(tab) == (after["affirms"] & ~after["says"]).sum()
    controls.get_by_label("The two forms").select_option("changed by the repair")
    changed = (before["affirms"] != after["affirms"]) | (before["says"] != after["says"])
    assert counted(tab) == changed.sum() > 0
    tab.locator(".rows tbody a").first.click()
    assert tab.locator("article.item thead").inner_text().split() == ["before", "after"]


def test_without_a_script_and_on_paper_there_is_what_there_was(browser, run):  # noqa: F811
    with a_tab(browser, java_script_enabled=False) as tab:  # noqa: F811
        tab.goto(run[0])
        expect(tab.locator(".browse .scriptless")).to_be_visible()
        expect(tab.get_by_role("heading", name="Says it, but denies it")).to_be_visible()
    with a_tab(browser) as tab:
        tab.goto(run[0])
        expect(tab.locator(".browse .scriptless")).to_have_count(0)
        tab.emulate_media(media="print")
        expect(tab.locator(".browse")).to_be_hidden()


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_page(tab, run, scheme):  # noqa: F811
    tab.emulate_media(color_scheme=scheme)
    for place in ("", "#item-17"):
        tab.goto(run[0] + place)
        check_accessible(tab)
    tab.get_by_role("button", name="Open all").click()
    check_accessible(tab)


def test_ten_thousand_items_stay_fluid(tab, tmp_path, gap_writer, gap_scores):  # noqa: F811
    scores = gap_scores(10_000, categories=60)
    page = write_report(gap_writer(tmp_path / "gap", scores, layers=False))
    assert page.stat().st_size < 4_000_000
    tab.goto(page.as_uri())
    assert counted(tab) == 10_000
    assert tab.locator(".rows tbody tr").count() < 100
    took = tab.evaluate(
        """async () => {
          const field = document.querySelector(".items-table input"), list = document.querySelector(".window");
          const times = [];
          const timed = async (act) => {
            const begin = performance.now();
            act();
            document.body.offsetHeight;
            times.push(performance.now() - begin);
            await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
          };
          for (const text of ["b", "be", "bees", "bees insect", ""]) {
            await timed(() => { field.value = text; field.dispatchEvent(new Event("input")); });
          }
          const scrolled = (top) => { list.scrollTop = top; list.dispatchEvent(new Event("scroll")); };
          for (let k = 1; k <= 10; k++) await timed(() => scrolled(30000 * k));
          for (const head of document.querySelectorAll(".rows thead button")) await timed(() => head.click());
          return times.sort((a, b) => a - b)[Math.floor(0.9 * times.length)];
        }"""
    )
    assert took < 300  # milliseconds, the layout included; of ten, one may meet a machine that is busy
    tab.evaluate("document.querySelector('.window').scrollTop = 1e9")
    expect(tab.locator(".rows tbody tr[aria-rowindex='10001']")).to_be_visible()  # the last one is reached


def test_nasty_items_stay_text(tab, tmp_path, gap_writer, gap_scores):  # noqa: F811
    nasty = "<img src=x onerror=\"document.title='broken'\"></script><script>document.title='broken'</script>"
    scores = gap_scores(30)
    for column in ("answer", "group", "generator_prompt", "validator_prompt"):
        scores[column] = [f"{nasty} {i}" for i in range(30)]
    tab.goto(f"{write_report(gap_writer(tmp_path / 'gap', scores, layers=False)).as_uri()}#item-3")
    expect(tab.locator("article.item h4")).to_contain_text(f"{nasty} 3")
    assert tab.title() != "broken"
    expect(tab.locator("img")).to_have_count(0)
