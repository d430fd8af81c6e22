"""The explorer in a real browser: answers, the latest question of each visitor, two at once, failures, hostile text."""

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.axe import check_accessible, needs_axe
from tests.explore.tiny_site import FAILS, SLOW
from tests.report.conftest import make_scores
from tests.report.test_browser import browser, pytestmark  # noqa: F401  # a fixture, and where it is missing

pytest.importorskip("nicegui", reason="of the explorer (pip install 'accord[explore]')")
from playwright.sync_api import expect

ROOT = Path(__file__).parents[2]
NASTY = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
WAIT = 20_000  # milliseconds, for machines with other work


@pytest.fixture(scope="module", autouse=True)
def _patience():
    expect.set_options(timeout=WAIT)
    yield
    expect.set_options(timeout=5_000)


@contextmanager
def served(folder, *options):
    """The address of an explorer that a process of its own serves; see `tiny_site`."""
    log = folder / "log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    with log.open("w") as file:
        command = [sys.executable, "-m", "tests.explore.tiny_site", str(folder), *map(str, options)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=file, text=True)
    try:
        told = next((line for line in process.stdout if line.startswith("http://")), None)
        assert told is not None, log.read_text()
        yield told.strip()
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The explorer of a tiny run."""
    with served(tmp_path_factory.mktemp("explored")) as address:
        yield address


@pytest.fixture
def visit(browser, address):  # noqa: F811
    """Opens pages of the explorer; they ask nothing of another host, and nothing goes wrong in them."""
    with visitors(browser, address) as visit:
        yield visit


@contextmanager
def visitors(browser, address):  # noqa: F811
    asked, wrong, tabs = set(), [], []

    def visit(place="", **options):
        tab = browser.new_page(**{"viewport": {"width": 1200, "height": 900}, **options})
        tab.set_default_timeout(WAIT)
        tab.on("request", lambda request: asked.add(request.url))
        tab.on("websocket", lambda socket: asked.add(socket.url))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("console", lambda message: wrong.append(message.text))
        tab.sent = 0  # characters that the server sent since the page was there

        def count(frame):
            tab.sent += len(frame)

        tab.on("websocket", lambda socket: socket.on("framereceived", count))
        tab.goto(address + place)
        tabs.append(tab)
        return tab

    try:
        yield visit
    finally:
        for tab in tabs:
            tab.close()
    begins = re.compile(re.sub(r"^http", "(http|ws)", re.escape(address)))
    assert asked and all(begins.match(url) or url.startswith(("data:", "blob:")) for url in asked)
    assert wrong == []


def settled(tab):
    """Wait for the latest answer."""
    tab.wait_for_function(
        """[...document.querySelectorAll(".x-board")].every((board) => board.offsetParent === null
          || (!board.querySelector(".x-stale") && !board.querySelector(".x-status").textContent))"""
    )


def verdict(tab):
    return tab.locator(".x-verdict:visible").first


def test_a_first_answer_appears_and_follows_what_is_typed(visit):
    tab = visit()
    expect(verdict(tab)).to_contain_text("Completing")
    settled(tab)
    expect(tab.locator(".x-likeliest li")).to_have_count(20)
    expect(tab.locator("figure svg")).to_have_count(1)
    tab.get_by_label("noun2").fill("instrument")
    expect(verdict(tab)).to_contain_text("“instrument”")
    tab.get_by_label("Beside it").click()
    tab.get_by_role("option", name="calibrate-s0").click()
    expect(tab.locator(".x-answer")).to_have_count(2)


def test_of_ten_quick_edits_the_last_one_is_answered(visit):
    tab = visit()
    settled(tab)
    tab.evaluate(
        """() => {
          window.seen = [];
          const look = () => { const text = document.querySelector(".x-verdict")?.textContent ?? "";
            if (text && text !== window.seen.at(-1)) window.seen.push(text); };
          new MutationObserver(look).observe(document.body, {childList: true, subtree: true, characterData: true});
        }"""
    )
    for i in range(10):
        tab.get_by_label("noun2").fill(f"{SLOW} {chr(97 + i)}")
        tab.wait_for_timeout(310)  # beyond the fields' own patience: each is asked
    expect(verdict(tab)).to_contain_text(f"“{SLOW} j”")
    settled(tab)
    tab.wait_for_timeout(400)
    seen = tab.evaluate("window.seen")
    assert f"“{SLOW} j”" in seen[-1]
    assert len(seen) < 10  # of those in between most were dropped


def test_two_visitors_get_their_own_answers_and_neither_waits_for_the_page(visit):
    slow, other = visit(), visit()
    settled(slow)
    settled(other)
    slow.get_by_label("noun2").fill(f"{SLOW} mine")
    other.get_by_label("noun2").fill("yours")
    slow.get_by_label("Ask by").click()  # the page answers while the model is slow
    expect(slow.get_by_role("option", name="two whole prompts")).to_be_visible(timeout=2000)
    slow.keyboard.press("Escape")
    expect(verdict(other)).to_contain_text("“yours”")
    expect(verdict(slow)).to_contain_text(f"“{SLOW} mine”")
    assert "mine" not in verdict(other).inner_text()


def test_a_model_that_fails_is_one_message_and_the_page_lives_on(visit):
    tab = visit()
    settled(tab)
    tab.get_by_label("noun1").fill(f"{FAILS} lives")
    expect(tab.get_by_role("alert")).to_contain_text("the card fell off <b>the bus</b>")
    expect(tab.locator(".x-verdict")).to_have_count(0)  # no answer to another question stands there
    tab.get_by_label("noun1").fill("cats")
    expect(verdict(tab)).to_contain_text("Completing")
    expect(tab.get_by_role("alert")).to_be_hidden()


def test_hostile_text_stays_text_or_is_refused(visit):
    tab = visit()
    settled(tab)
    tab.get_by_label("Ask by").click()
    tab.get_by_role("option", name="two whole prompts").click()
    answer = tab.get_by_label("Its answer")
    answer.fill(NASTY)
    expect(verdict(tab)).to_contain_text(NASTY)
    answer.fill("turned \u202e around \x1b[31m")
    expect(verdict(tab)).to_contain_text("turned \\u202e around \\x1b[31m")
    answer.fill("x" * 200_000)
    expect(tab.get_by_role("alert")).to_contain_text("too long to be asked")
    tab.get_by_label("Words for no").fill("Yes")
    answer.fill("fine")
    expect(tab.get_by_role("alert")).to_contain_text("stands for two labels")
    assert tab.title() != "broken"
    expect(tab.locator("img")).to_have_count(0)


def enter(tab, room):
    settled(tab)
    tab.get_by_role("tab", name=room).click()
    settled(tab)


def test_an_item_is_found_and_looked_at(visit):
    tab = visit()
    enter(tab, "Items")
    expect(tab.locator(".x-count")).to_have_text("24 items of 24, page 1 of 2")
    expect(tab.locator(".x-scatter canvas")).to_be_visible()
    links = tab.locator(".x-items .x-link")
    name = links.nth(1).inner_text()
    tab.get_by_label("Search prompts and answers").fill(name.split(" | ")[0].split()[-5])  # the noun
    expect(tab.locator(".x-count")).not_to_have_text("24 items of 24, page 1 of 2")
    tab.locator(".x-items .x-link", has_text=name).click()
    expect(tab.locator("h2", has_text=re.compile(r"Item \d"))).to_contain_text(name)
    expect(verdict(tab)).to_contain_text(f"“{name.split(' | ')[1]}”")
    expect(tab.get_by_role("heading", name="Concepts of topk-s0 that carry this item")).to_be_visible()
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Save these (CSV)").click()
    assert Path(download.value.path()).read_text().startswith("noun1,noun2")
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Save figure (SVG)").last.click()
    assert "<svg" in Path(download.value.path()).read_text()
    tab.get_by_label("Search prompts and answers").fill("no such thing")
    expect(tab.locator(".x-count")).to_have_text("0 items of 24")


def test_concepts_are_searched_and_written_with_beside_both_controls(visit):
    tab = visit()
    enter(tab, "Concepts")
    expect(tab.locator(".x-count:visible")).to_contain_text("live concepts")
    tab.get_by_label("Tokens", exact=True).fill("5")
    other = tab.locator("td .x-link:visible").nth(1)
    other.click()
    expect(tab.locator("h3:visible", has_text=other.inner_text())).to_be_visible()
    tab.get_by_role("button", name="Add a slider for it").click()
    arms = tab.locator(".x-arms h3")
    expect(arms).to_have_text(["without", "concept", "random concept", "random direction"])
    settled(tab)
    tab.get_by_role("slider").focus()
    tab.keyboard.press("ArrowRight")
    expect(tab.locator("pre", has_text="Dose('factor', 4.5)")).to_have_count(1)
    expect(tab.locator("pre", has_text="accord steer ")).to_contain_text("--factor 4.5")
    tab.get_by_label("Seed").fill("-3")
    expect(tab.get_by_role("alert").locator("visible=true")).to_contain_text("the seed one from 0")
    expect(arms).to_have_count(0)


def test_a_text_grows_in_its_panel_token_by_token(visit):
    tab = visit("#concepts")
    expect(tab.locator(".x-count:visible")).to_contain_text("live concepts")
    settled(tab)
    tab.get_by_label("Tokens", exact=True).fill("6")
    tab.get_by_label("Prompt", exact=True).fill(f"{SLOW} birds")  # each token takes a quarter of a second
    tab.evaluate(
        """() => {
          window.seen = [];
          const look = () => { const now = [...document.querySelectorAll(".x-arms .x-card")].map((panel) =>
              [...panel.querySelectorAll(".x-written > :not(.note)")].map((part) => part.textContent).join(""));
            if (now.length && JSON.stringify(now) !== JSON.stringify(window.seen.at(-1))) window.seen.push(now); };
          new MutationObserver(look).observe(document.body, {childList: true, subtree: true, characterData: true});
        }"""
    )
    tab.get_by_role("button", name="Add a slider for it").click()
    expect(tab.get_by_role("button", name="Save rows (CSV)").locator("visible=true")).to_be_visible()
    settled(tab)
    seen = tab.evaluate("window.seen")
    assert all(len(panels) == 4 for panels in seen)
    states = 0
    for arm in range(4):
        grown = list(dict.fromkeys(panels[arm] for panels in seen))
        assert all(later.startswith(now) for now, later in pairwise(grown))
        states += len(grown)
        begun = next(i for i, panels in enumerate(seen) if panels[arm])
        assert all(panels[:arm] == seen[-1][:arm] for panels in seen[begun:])  # those before it are whole
    assert states >= 10  # of some twenty tokens; a machine that is busy shows some together


def test_a_link_opens_its_item_and_back_leads_back(visit):
    tab = visit("#item-17")
    title = tab.locator("h2:visible", has_text=re.compile(r"Item \d"))
    expect(title).to_contain_text("Item 17:")
    expect(verdict(tab)).to_contain_text("Completing")
    expect(title).to_be_in_viewport()
    tab.evaluate(
        "() => { navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }; }"
    )
    tab.get_by_role("button", name="Copy link").click()
    expect(tab.get_by_text("Copied.", exact=True)).to_be_visible()
    assert tab.evaluate("window.copied") == tab.url and tab.url.endswith("/#item-17")
    near = tab.locator(".x-near .x-link:visible").first
    other = re.search(r"\d+", near.get_attribute("title"))[0]
    near.click()
    expect(title).to_contain_text(f"Item {other}:")
    expect(tab).to_have_url(re.compile(f"#item-{other}$"))
    tab.go_back()
    expect(title).to_contain_text("Item 17:")
    tab.get_by_role("tab", name="Ask").click()
    expect(tab).to_have_url(re.compile("#ask$"))
    tab.go_back()
    expect(title).to_contain_text("Item 17:")
    tab.evaluate("location.hash = '#item-99'")
    expect(tab.get_by_role("alert").locator("visible=true")).to_contain_text("There is no item 99 here")


@needs_axe
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_in_any_room(visit, dark):
    def check():
        settled(tab)
        tab.wait_for_timeout(500)  # what fades in has its colours by then
        check_accessible(tab)

    tab = visit(color_scheme="dark" if dark else "light")
    for place in ("#ask", "#items", "#item-3", "#concepts", "#repairs"):
        tab.evaluate("(place) => { location.hash = place; }", place)
        expect(tab.locator(".x-intro:visible")).to_have_count(1)
        check()
        if place == "#concepts":
            tab.get_by_label("Tokens", exact=True).fill("3")
            tab.get_by_role("button", name="Add a slider for it").click()
            expect(tab.locator(".x-arms h3")).to_have_count(4)
            check()
        if place == "#repairs":
            tab.get_by_role("button", name="Compare").click()
            expect(tab.get_by_role("table", name="Measures of damage on your sentences")).to_be_visible()
            check()


def test_ten_thousand_items_stay_fluid(browser, tmp_path):  # noqa: F811
    with served(tmp_path, 10_000) as address, visitors(browser, address) as visit:
        tab = visit("#items")
        count, table = tab.locator(".x-count"), tab.get_by_role("table", name="Items that were found")
        expect(count).to_have_text("10,000 items of 10,000, page 1 of 834")
        expect(tab.get_by_text("Drawn are 3,000 of 10,000")).to_be_visible()

        def sent(act, told):
            """What the server sends for something done, in characters, by the time that the count tells it."""
            tab.wait_for_timeout(300)
            tab.sent = 0
            act()
            expect(count).to_have_text(told)
            tab.wait_for_timeout(300)
            assert table.locator("tbody tr").count() <= 12 and tab.locator("*").count() < 1000
            return tab.sent

        search, kind, order = (tab.get_by_label(name) for name in ("Search prompts", "Show", "Sort by"))

        def choose(field, option):
            field.click()
            tab.get_by_role("option", name=option, exact=True).click()

        whole = make_scores(10_000, categories=60)
        bees = int((whole["noun1"] == "bees").sum())
        assert sent(lambda: tab.get_by_role("button", name="Next").click(), re.compile("page 2 of 834")) < 20_000
        assert sent(lambda: choose(order, "log-odds of yes, highest first"), re.compile("page 1 of 834")) < 100_000
        highest = table.locator("tbody .x-link").first.get_attribute("title")
        assert highest == f"open item {whole['validator_logodds'].idxmax()}"
        assert sent(lambda: choose(kind, "right answers"), re.compile("^5,000 items")) < 100_000
        assert sent(lambda: choose(kind, "all items"), re.compile("^10,000 items")) < 100_000
        assert sent(lambda: search.fill("bees"), re.compile(f"^{bees} items")) < 30_000
        assert sent(lambda: search.fill(""), re.compile("^10,000 items")) < 100_000
        tab.get_by_role("button", name="Next").click()
        table.locator(".x-link").nth(3).click()
        expect(tab.locator("h2", has_text=re.compile(r"Item \d"))).to_be_in_viewport()
        assert tab.locator("*").count() < 1200
        far = int(whole["generator_logodds"].idxmax())  # nothing lies near it
        search.fill(whole["answer"][far])  # few enough for all to be drawn
        expect(tab.get_by_text("Drawn are")).to_be_hidden()
        tab.wait_for_timeout(300)
        tab.locator(".x-scatter").scroll_into_view_if_needed()
        x, y = tab.evaluate(
            """(values) => {
              const place = document.querySelector(".x-scatter"), box = place.getBoundingClientRect();
              const [x, y] = getElement(place).chart.convertToPixel("grid", values);
              return [box.left + x, box.top + y];
            }""",
            whole.loc[far, ["generator_logodds", "validator_logodds"]].tolist(),
        )
        tab.mouse.move(x - 20, y)
        tab.mouse.move(x, y)
        expect(tab.locator(".x-under")).to_contain_text(f"Item {far}:")
        tab.mouse.click(x, y)
        expect(tab.locator("h2", has_text=f"Item {far}:")).to_be_in_viewport()


def test_a_repair_is_asked_beside_its_base_and_its_threshold_moved(visit):
    tab = visit()
    enter(tab, "Repairs")
    expect(tab.locator(".x-answer h3:visible")).to_have_text(["model", "calibrate-s0"])
    tab.get_by_label("Sentences, one a line").fill(f"{NASTY} a bird\nfood of a kind\nyes and no")
    tab.get_by_role("button", name="Compare").click()
    expect(tab.get_by_role("table", name="Measures of damage on your sentences")).to_contain_text("Perplexity")
    tab.get_by_label("Sentences, one a line").fill("x\n" * 60)
    tab.get_by_role("button", name="Compare").click()
    expect(tab.get_by_role("alert").locator("visible=true")).to_contain_text("1 to 50 lines")
    shares = tab.get_by_role("table", name="Shares of the items")
    tab.get_by_role("slider", name="Added to the log-odds of yes").focus()
    tab.keyboard.press("End")
    expect(shares.locator("td").nth(2)).to_have_text("100 %")
    tab.get_by_role("button", name="As it is").click()
    expect(shares.locator("td").nth(2)).not_to_have_text("100 %")
    assert tab.title() != "broken"


def test_whoever_lacks_the_token_is_refused(address, browser):  # noqa: F811
    host = address.split("/")[2]
    for path in (
        "",
        "/",
        "/wrong/",
        address.split("/")[3][:-1] + "/",
        "/_nicegui_ws/socket.io/?EIO=4&transport=polling",
    ):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"http://{host}/{path.lstrip('/')}")
    with browser.new_page() as tab:
        tab.goto(address)
        closed = tab.evaluate(
            """(host) => new Promise((done) => {
              const socket = new WebSocket(`ws://${host}/_nicegui_ws/socket.io/?EIO=4&transport=websocket`);
              socket.onopen = () => done("open"); socket.onclose = () => done("closed"); })""",
            host,
        )
        assert closed == "closed"


UNNAMED = """() => {
  const text = (part) => part.matches("button, [role=tab]") ? part.textContent.trim() : "";
  const name = (part) => part.getAttribute("aria-label") || part.getAttribute("aria-labelledby")
    || part.labels?.[0]?.textContent.trim() || part.title || text(part);
  const shown = (part) => part.offsetParent !== null && !part.closest("[aria-hidden=true]") && part.type !== "hidden";
  return [...document.querySelectorAll("input, textarea, select, button, [role=slider], [role=combobox], [role=img]")]
    .filter((part) => shown(part) && !name(part)).map((part) => part.outerHTML.slice(0, 200));
}"""


@pytest.mark.parametrize("dark", [False, True])
def test_everything_that_is_asked_for_has_a_name_and_a_phone_need_not_scroll(visit, dark):
    tab = visit(viewport={"width": 400, "height": 800}, color_scheme="dark" if dark else "light")
    for room in tab.get_by_role("tab").all_inner_texts():
        tab.get_by_role("tab", name=room).click()
        settled(tab)
        assert tab.evaluate(UNNAMED) == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= 400
