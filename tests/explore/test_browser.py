"""The explorer in a real browser: answers, the latest question of each visitor, two at once, failures, hostile text."""

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.explore.tiny_site import FAILS, SLOW
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


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of the explorer of a tiny run, which a process of its own serves."""
    folder = tmp_path_factory.mktemp("explored")
    log = folder / "log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    with log.open("w") as file:
        command = [sys.executable, "-m", "tests.explore.tiny_site", str(folder)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=file, text=True)
    told = next((line for line in process.stdout if line.startswith("http://")), None)
    assert told is not None, log.read_text()
    yield told.strip()
    process.terminate()
    process.communicate(timeout=20)


@pytest.fixture
def visit(browser, address):  # noqa: F811
    """Opens pages of the explorer; they ask nothing of another host, and nothing goes wrong in them."""
    asked, wrong, tabs = set(), [], []

    def visit(**options):
        tab = browser.new_page(**{"viewport": {"width": 1200, "height": 900}, **options})
        tab.set_default_timeout(WAIT)
        tab.on("request", lambda request: asked.add(request.url))
        tab.on("websocket", lambda socket: asked.add(socket.url))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("console", lambda message: wrong.append(message.text))
        tab.goto(address)
        tabs.append(tab)
        return tab

    yield visit
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
    expect(tab.locator(".x-count")).to_have_text("24 items of 24")
    expect(tab.locator(".x-scatter canvas")).to_be_visible()
    links = tab.locator(".x-items .x-link")
    name = links.nth(1).inner_text()
    tab.get_by_label("Search prompts and answers").fill(name.split(" | ")[0].split()[-5])  # the noun
    expect(tab.locator(".x-count")).not_to_have_text("24 items of 24")
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
