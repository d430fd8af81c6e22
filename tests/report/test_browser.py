"""The report in a real browser: search, filter, sort, open, dark mode, thousands of concepts, safety."""

import re
import shutil
from contextlib import contextmanager

import pytest
from playwright.sync_api import expect, sync_playwright
from tests.report.meaning_folder import NAMES, WORDS, write_explanation, write_names, write_steering
from tests.verdict.repaired_run import MADE, write_run

from accord.report.html import write_report
from accord.report.wording import number

MANY = 5000
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="of the page in a browser (apt install chromium)")


@pytest.fixture(scope="module")
def browser():
    """The machine's own Chromium, as root and in containers too."""
    with sync_playwright() as playwright:
        options = ["--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False, args=options)
        yield browser
        browser.close()


@contextmanager
def a_tab(browser, **options):
    """A tab; what it opens asks for no other file or address, and nothing goes wrong in it."""
    asked, wrong = [], []
    with browser.new_page(**options) as tab:
        tab.on("request", lambda request: asked.append(request.url.partition("#")[0]))
        tab.on("pageerror", lambda error: wrong.append(error))
        tab.on("console", lambda message: wrong.append(message.text))
        yield tab
    assert len(set(asked)) == 1 and wrong == []


@pytest.fixture
def tab(browser):
    with a_tab(browser, viewport={"width": 1200, "height": 900}) as tab:
        yield tab


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    run = tmp_path_factory.mktemp("seen") / "run"
    write_names(run)
    write_steering(run)
    return write_report(run).as_uri()


@pytest.fixture
def opened(tab, report):
    tab.goto(f"{report}#names")  # what is folded opens when it is linked to
    return tab


def counted(tab):
    return int(tab.locator("output").inner_text().split()[0].replace(",", ""))


def column(tab, i):
    return tab.locator(f".concepts tbody tr > :nth-child({i + 1})").all_text_contents()


def test_of_what_is_for_paper_and_for_the_screen_one_is_shown(opened):
    expect(opened.locator(".plain")).to_be_hidden()
    assert counted(opened) == 60
    opened.emulate_media(media="print")
    expect(opened.locator(".plain")).to_be_visible()
    expect(opened.locator(".browse")).to_be_hidden()


def test_scripts_write_numbers_as_the_rest_of_the_page(opened):
    values = [0.85, -0.07, -0.001, 1, 0, -12.346, 0.51, 0.996, 123.4]
    for digits in (0, 1, 2):
        for bare in (True, False):
            told = opened.evaluate(
                "([all, ...how]) => all.map((one) => page.number(one, ...how))", [values, digits, bare]
            )
            assert told == [number(value, digits, bare=bare) for value in values]
    assert opened.evaluate("[page.number(null), page.number(-1e308), page.percent(.5), page.percent(.0042, 1)]") == [
        "–",
        "−∞",
        "50 %",
        ".4 %",
    ]


def test_search(opened):
    search = opened.get_by_label("Search names and tokens")
    search.fill("CINEMA")
    names = column(opened, 1)
    assert names and all("cinema" in name for name in names) and counted(opened) == len(names) < 60
    search.fill("no such thing")
    assert counted(opened) == 0 and column(opened, 1) == []
    search.fill("example of 57")
    assert counted(opened) == 0
    opened.get_by_label("search examples too").check()
    assert column(opened, 0) == ["57"]  # every word of the search, in any example
    opened.get_by_role("button", name="Clear").click()
    assert counted(opened) == 60


def test_filter_by_rate_score_label_and_name(opened):
    concepts = opened.evaluate("JSON.parse(document.querySelector('.dictionary script').textContent)")
    controls = opened.locator(".controls")
    least, most, score = (controls.get_by_label(name) for name in ("at least", "at most", "Score from"))
    least.fill("1")
    most.fill("5")
    assert counted(opened) == sum(0.01 <= concept["r"] <= 0.05 for concept in concepts)
    least.fill("")
    most.fill("")
    score.fill("0.7")
    assert counted(opened) == sum((concept.get("d", -9) + concept.get("f", -9)) / 2 >= 0.7 for concept in concepts) > 0
    score.fill("")
    controls.get_by_label("Label").select_option("goes with high")
    assert counted(opened) == sum(concept["lt"] >= 4 for concept in concepts) > 0
    controls.get_by_label("Label").select_option("any")
    controls.get_by_label("Show").select_option("without a name")
    assert counted(opened) == sum("n" not in concept for concept in concepts) == 20
    controls.get_by_label("Show").select_option("that were steered")
    assert counted(opened) == 20


def test_sort(opened):
    def click(label):
        opened.locator(".concepts thead").get_by_role("button", name=label).click()

    def rates():
        return [float(("0" + cell.split()[0]) if cell[0] == "." else cell.split()[0]) for cell in column(opened, 2)]

    click("Fires on")
    assert rates() == sorted(rates(), reverse=True)
    expect(opened.locator("[data-key=r] button")).to_be_focused()  # the keyboard stays where it was
    expect(opened.locator("[data-key=r]")).to_have_attribute("aria-sort", "descending")
    click("Fires on")
    assert rates() == sorted(rates())
    click("Name")
    names = column(opened, 1)
    assert names == sorted(names)
    assert counted(opened) == 60 and len(names) == 30
    opened.get_by_role("button", name="Next").click()
    assert column(opened, 1)[-1].startswith("concept ")  # those without a name are last


def test_open_a_concept_by_keyboard_and_go_back(opened):
    link, view = opened.locator(".concepts tbody a").first, opened.locator(".concept")
    name = link.inner_text()
    link.press("Enter")
    expect(view.locator("h4")).to_be_focused()
    text = view.inner_text()
    assert name in text and "Strongest examples" in text and "Makes more likely" in text
    expect(opened.locator(".controls")).to_be_hidden()
    opened.go_back()
    expect(view).to_be_hidden()
    expect(opened.locator(".controls")).to_be_visible()


def test_a_link_opens_its_concept(tab, report):
    tab.goto(f"{report}#concept-lcblm-s0-3")
    view = tab.locator(".concept")
    text = view.inner_text()
    assert f"{NAMES[3]} 3" in text and WORDS[3] in text and "turned off" in text
    expect(view.locator(".examples mark")).to_have_count(8)
    near = view.get_by_role("heading", name="Nearest concepts").locator("xpath=..").locator("a").first
    expect(near).to_have_attribute("href", "#concept-lcblm-s0-4")
    tab.goto(f"{report}#concept-lcblm-s0-999")
    expect(view).to_contain_text("It is not in this list")


def luminance(colour):
    parts = [float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True])
def test_text_is_legible_in_light_and_dark(tab, report, dark):
    tab.emulate_media(color_scheme="dark" if dark else "light")
    tab.goto(f"{report}#concept-lcblm-s0-3")
    view = tab.locator(".concept")
    ground = luminance(view.evaluate("(part) => getComputedStyle(part).backgroundColor"))
    assert (ground < 0.05) == dark
    for what in ("h4", ".facts-list dt", ".size", "a"):
        ink = luminance(view.locator(what).first.evaluate("(part) => getComputedStyle(part).color"))
        assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.5  # WCAG 2.1, AA


def test_every_landmark_has_a_name_of_its_own(tab, tmp_path):
    """Of sections, which are landmarks once they are named; what merely scrolls is none."""
    write_names(tmp_path)
    write_steering(tmp_path)
    for name in ("lcblm-s0", "topk-s0"):
        write_explanation(tmp_path, name)
    tab.goto(write_report(tmp_path).as_uri())
    names = tab.evaluate(
        """[...document.querySelectorAll("section[aria-labelledby], section[aria-label], [role=region]")].map((part) =>
          part.getAttribute("aria-label") ?? part.getAttribute("aria-labelledby").split(" ")
            .map((id) => document.getElementById(id).textContent.trim()).join(" "))"""
    )
    assert len(names) > 10 and len(names) == len(set(names))
    expect(tab.locator(".scroll[role=region]")).to_have_count(0)


@pytest.mark.parametrize("fragment", ["", "#concept-lcblm-s0-3"])
def test_a_phone_need_not_scroll_sideways(browser, report, fragment):
    with a_tab(browser, viewport={"width": 400, "height": 800}, is_mobile=True) as tab:
        tab.goto(report + fragment)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 400


def test_five_thousand_concepts_stay_fluid(tab, tmp_path):
    write_names(tmp_path, concepts=MANY)
    page = write_report(tmp_path)
    assert page.stat().st_size < 6_000_000
    tab.goto(f"{page.as_uri()}#names")
    assert counted(tab) == MANY
    took = tab.evaluate(
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


def test_nasty_names_stay_text(tab, tmp_path):
    nasty = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
    write_names(tmp_path, names=(nasty,), words=(nasty, "</script>", "<!--"))
    tab.goto(f"{write_report(tmp_path).as_uri()}#concept-lcblm-s0-1")
    expect(tab.locator(".concept h4")).to_contain_text(nasty)
    assert tab.title() != "broken"
    expect(tab.locator("img")).to_have_count(0)


def test_what_has_a_colour_for_a_meaning_has_it_on_paper(tab, tmp_path, gap_writer, gap_scores):
    tab.goto(write_report(gap_writer(tmp_path / "gap", gap_scores(60), layers=False)).as_uri())
    tab.emulate_media(media="print")
    for kind in ("right", "wrong"):
        look = tab.locator(f".gold.{kind}").first.evaluate(
            "(part) => ['printColorAdjust', 'backgroundColor'].map((name) => getComputedStyle(part, '::before')[name])"
        )
        assert look[0] == "exact" and look[1] != "rgba(0, 0, 0, 0)"


@pytest.fixture(scope="module")
def whole(tmp_path_factory, run_folder):
    """The page of a run with nearly everything in it."""
    run = write_run(tmp_path_factory.mktemp("whole") / "run", MADE, trials=["test", "test-unseen-both"])
    shutil.copytree(run_folder / "gap", run / "gap")
    write_names(run)
    write_steering(run)
    write_explanation(run)
    return write_report(run).as_uri()


def test_the_first_screen_stands_alone_and_all_else_is_folded(tab, whole):
    tab.goto(whole)
    first = tab.locator("#answer")
    for words in ("Can smollm2-135m be made to affirm", "closes", "Worse, of", "120 test items", "1 seed of readout"):
        expect(first).to_contain_text(words)
    expect(first.locator(".plot:visible svg")).to_have_count(1)
    stages = tab.locator("details.stage")
    assert stages.count() > 5 and tab.locator("details.stage[open]").count() == 0
    expect(tab.locator("#explain > summary")).to_contain_text(
        "that explain the gap move it more than random concepts do"
    )
    headlines = tab.locator("#answer .verdict, details.stage > summary .gist").all_text_contents()
    assert "closes" in headlines[0]  # the repair before what concepts are
    tab.get_by_role("button", name="Open all").click()
    assert tab.locator("details.stage[open]").count() == stages.count()
    tab.get_by_role("button", name="Fold all").click()
    assert tab.locator("details.stage[open]").count() == 0


def test_the_contents_follow_and_open_what_they_lead_to(tab, whole):
    tab.goto(whole)
    contents = tab.get_by_role("navigation", name="Contents")
    for width in (1200, 1600):  # above the page, and beside it
        tab.set_viewport_size({"width": width, "height": 900})
        tab.evaluate("document.querySelector('#steering').open = false")
        contents.get_by_role("link", name="Steering").first.click()
        expect(tab.locator("#steering")).to_have_attribute("open", "")
        tab.evaluate("scrollTo(0, 1e6)")
        expect(contents).to_be_in_viewport()
    contents.get_by_role("link", name="Glossary").click()
    for word in ("LCBLM", "RankAlign", "Readout", "Nested", "Closed", "L0"):
        expect(tab.locator("#glossary dfn", has_text=word).first).to_be_visible()
    tab.goto(f"{whole}#item-gap-1-3")  # inside what is folded
    expect(tab.locator("#gap-1 article.item h4")).to_be_focused()


@pytest.mark.parametrize("fragment", ["#answer", "#repair", "#gap-1"])
def test_a_phone_has_the_whole_page_without_scrolling_sideways(browser, whole, fragment):
    with a_tab(browser, viewport={"width": 400, "height": 800}, is_mobile=True) as tab:
        tab.goto(whole + fragment)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 400
        shown = tab.locator(f"{fragment} .plot:visible")
        assert shown.count() > 0
        for k in range(shown.count()):  # figures are laid out for it: none scrolls
            assert shown.nth(k).evaluate("(plot) => plot.scrollWidth <= plot.clientWidth + 1")
        cues = tab.evaluate("getComputedStyle(document.querySelector('.scroll')).backgroundImage")
        assert cues.count("linear-gradient") == 4  # shadows where there is more


def test_on_paper_it_has_few_pages_unless_more_is_open(browser, whole, run_folder):
    def pages(tab):
        return len(re.findall(rb"/Type\s*/Page\b(?!s)", tab.pdf(format="A4")))

    for url in (whole, write_report(run_folder).as_uri()):
        with a_tab(browser) as tab:
            tab.goto(url)
            assert pages(tab) <= 8
    with a_tab(browser) as tab:
        tab.goto(whole)
        tab.get_by_role("button", name="Open all").click()
        assert pages(tab) > 8
