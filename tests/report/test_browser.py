"""The report in a real browser: search, filter, sort, open, dark mode, thousands of concepts, safety."""

import re

import pytest
from tests.report.browser import Browser, find_browser
from tests.report.meaning_folder import NAMES, WORDS, write_explanation, write_names, write_steering

from accord.report.html import write_report

MANY = 5000
pytestmark = pytest.mark.skipif(
    find_browser() is None, reason="THE REPORT IS NOT TESTED IN A BROWSER: install chromium (apt install chromium)"
)


@pytest.fixture(scope="module")
def browser():
    browser = Browser(str(find_browser()))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    run = tmp_path_factory.mktemp("seen") / "run"
    write_names(run)
    write_steering(run)
    return write_report(run)


@pytest.fixture
def opened(browser, page):
    browser.look()
    browser.open(page)
    return browser


def type_in(browser, label, value):
    """Fill the field of that label, as typing does."""
    browser.run(
        f"""(() => {{
          const labels = [...document.querySelectorAll(".controls label")];
          const own = labels.find((label) => label.textContent.includes({label!r}));
          const field = own.querySelector("input, select");
          field.value = {value!r};
          field.dispatchEvent(new Event(field.tagName === "SELECT" ? "change" : "input", {{ bubbles: true }}));
        }})()"""
    )


def counted(browser):
    return int(browser.run("document.querySelector('output').textContent").split()[0].replace(",", ""))


def column(browser, i):
    return browser.run(f"[...document.querySelectorAll('.concepts tbody tr')].map((row) => row.cells[{i}].textContent)")


def test_it_asks_for_nothing_and_nothing_goes_wrong(opened, page):
    assert [url for url in opened.requests if url not in (page.as_uri(), "about:blank")] == []
    assert opened.errors == []
    shown = "getComputedStyle(document.querySelector('.plain')).display"
    assert opened.run(shown) == "none" and counted(opened) == 60
    opened.look(media="print")
    assert opened.run(shown) == "block"
    assert opened.run("getComputedStyle(document.querySelector('.browse')).display") == "none"


def test_search(opened):
    type_in(opened, "Search", "CINEMA")
    names = column(opened, 1)
    assert names and all("cinema" in name for name in names) and counted(opened) == len(names) < 60
    type_in(opened, "Search", "no such thing")
    assert counted(opened) == 0 and column(opened, 1) == []
    type_in(opened, "Search", "example of 57")
    assert counted(opened) == 0
    opened.run("document.querySelector('.check input').click()")
    assert column(opened, 0) == ["57"]  # every word of the search, in any example
    opened.run("[...document.querySelectorAll('.controls button')].at(-1).click()")
    assert counted(opened) == 60


def test_filter_by_rate_score_label_and_name(opened):
    concepts = opened.run("JSON.parse(document.querySelector('.dictionary script').textContent)")
    type_in(opened, "at least", "1")
    type_in(opened, "at most", "5")
    assert counted(opened) == sum(0.01 <= concept["r"] <= 0.05 for concept in concepts)
    type_in(opened, "at least", "")
    type_in(opened, "at most", "")
    type_in(opened, "Score", "0.7")
    assert counted(opened) == sum((concept.get("d", -9) + concept.get("f", -9)) / 2 >= 0.7 for concept in concepts) > 0
    type_in(opened, "Score", "")
    type_in(opened, "Label", "+")
    assert counted(opened) == sum(concept["lt"] >= 4 for concept in concepts) > 0
    type_in(opened, "Label", "")
    type_in(opened, "Show", "-n")
    assert counted(opened) == sum("n" not in concept for concept in concepts) == 20
    type_in(opened, "Show", "st")
    assert counted(opened) == 20


def test_sort(opened):
    def click(label):
        opened.run(
            "[...document.querySelectorAll('.concepts thead button')]"
            f".find((button) => button.textContent.startsWith({label!r})).click()"
        )

    def rates():
        return [float(("0" + cell.split()[0]) if cell[0] == "." else cell.split()[0]) for cell in column(opened, 2)]

    click("Fires on")
    assert rates() == sorted(rates(), reverse=True)
    assert opened.run("document.activeElement.textContent").startswith("Fires on")  # the keyboard stays where it was
    assert opened.run("document.querySelector('[data-key=r]').getAttribute('aria-sort')") == "descending"
    click("Fires on")
    assert rates() == sorted(rates())
    click("Name")
    names = column(opened, 1)
    assert names == sorted(names)
    assert counted(opened) == 60 and len(names) == 30
    opened.run("[...document.querySelectorAll('.pager button')].at(-1).click()")
    assert column(opened, 1)[-1].startswith("concept ")  # those without a name are last


def test_open_a_concept_by_keyboard_and_go_back(opened):
    opened.run("document.querySelector('.concepts tbody a').focus()")
    name = opened.run("document.activeElement.textContent")
    opened.press("Enter", 13, "\r")
    opened.run("new Promise((done) => setTimeout(done, 50))")
    view = opened.run("document.querySelector('.concept').innerText")
    assert name in view and "Strongest examples" in view and "Makes more likely" in view
    assert opened.run("document.activeElement.tagName") == "H4"
    assert opened.run("getComputedStyle(document.querySelector('.controls')).display") == "flex"
    assert opened.run("document.querySelector('.controls').offsetParent") is None
    opened.run("history.back(); new Promise((done) => setTimeout(done, 100))")
    assert opened.run("document.querySelector('.concept').hidden") is True
    assert opened.run("document.querySelector('.controls').offsetParent !== null") is True


def test_a_link_opens_its_concept(browser, page):
    browser.look()
    browser.open(page, "#concept-lcblm-s0-3")
    view = browser.run("document.querySelector('.concept').innerText")
    assert f"{NAMES[3]} 3" in view and WORDS[3] in view and "turned off" in view
    assert browser.run("document.querySelectorAll('.concept .examples mark').length") == 8
    near = browser.run("document.querySelector('.concept .lists:nth-of-type(2) a').getAttribute('href')")
    assert near == "#concept-lcblm-s0-4"
    browser.open(page, "#concept-lcblm-s0-999")
    assert "It is not in this list" in browser.run("document.querySelector('.concept').innerText")
    assert browser.errors == []


def luminance(colour):
    parts = [float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True])
def test_text_is_legible_in_light_and_dark(browser, page, dark):
    browser.look(dark=dark)
    browser.open(page, "#concept-lcblm-s0-3")
    ground = luminance(browser.run("getComputedStyle(document.querySelector('.concept')).backgroundColor"))
    assert (ground < 0.05) == dark
    for what in ("h4", ".facts-list dt", ".size", "a"):
        ink = luminance(browser.run(f"getComputedStyle(document.querySelector('.concept {what}')).color"))
        assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.5  # WCAG 2.1, AA


def test_every_landmark_has_a_name_of_its_own(browser, tmp_path):
    """Of sections, which are landmarks once they are named; what merely scrolls is none."""
    write_names(tmp_path)
    write_steering(tmp_path)
    for name in ("lcblm-s0", "topk-s0"):
        write_explanation(tmp_path, name)
    browser.look()
    browser.open(write_report(tmp_path))
    names = browser.run(
        """[...document.querySelectorAll("section[aria-labelledby], section[aria-label], [role=region]")].map((part) =>
          part.getAttribute("aria-label") ?? part.getAttribute("aria-labelledby").split(" ")
            .map((id) => document.getElementById(id).textContent.trim()).join(" "))"""
    )
    assert len(names) > 10 and len(names) == len(set(names))
    assert browser.run("document.querySelectorAll('.scroll[role=region]').length") == 0


@pytest.mark.parametrize("fragment", ["", "#concept-lcblm-s0-3"])
def test_a_phone_need_not_scroll_sideways(browser, page, fragment):
    browser.look(width=400, height=800)
    browser.open(page, fragment)
    assert browser.run("document.documentElement.scrollWidth") <= 400


def test_five_thousand_concepts_stay_fluid(browser, tmp_path):
    write_names(tmp_path, concepts=MANY)
    page = write_report(tmp_path)
    assert page.stat().st_size < 6_000_000
    browser.look()
    browser.open(page)
    assert counted(browser) == MANY
    took = browser.run(
        """(() => {
          const field = document.querySelector(".controls input"), times = [];
          for (const text of ["c", "ci", "cinema", "cinema 2", ""]) {
            const begin = performance.now();
            field.value = text;
            field.dispatchEvent(new Event("input"));
            document.body.offsetHeight;
            times.push(performance.now() - begin);
          }
          return Math.max(...times);
        })()"""
    )
    assert took < 1000  # milliseconds, the layout included


def test_nasty_names_stay_text(browser, tmp_path):
    nasty = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
    write_names(tmp_path, names=(nasty,), words=(nasty, "</script>", "<!--"))
    browser.look()
    browser.open(write_report(tmp_path), "#concept-lcblm-s0-1")
    view = browser.run("document.querySelector('.concept h4').innerText")
    assert nasty in view
    assert browser.run("document.title") != "broken" and browser.run("document.images.length") == 0
    assert browser.errors == []
