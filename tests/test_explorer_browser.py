"""The explorer's page in a real browser: it plays, filters, remembers, and runs nothing that a dataset says."""

import pytest

from ode_vgan.data.shards import read_index
from ode_vgan.laion.subset import read_subset
from tests.browser import CLIPS, Page, make_real_dataset, need_browser, running, screenshot_folder
from tests.laion_fixture import HOSTILE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    need_browser()
    return make_real_dataset(tmp_path_factory.mktemp("browser") / "emoji")


@pytest.fixture(scope="module")
def browser(folder, tmp_path_factory):
    with running(folder) as address:
        page = Page(address, screenshot_folder(tmp_path_factory.mktemp("screenshots")))
        yield page
        page.driver.quit()


@pytest.fixture
def page(browser):
    """The page as it opens, in a window of a desk; its console must stay silent."""
    browser.theme("light")
    browser.size(1360, 900)
    browser.open()
    browser.complaints()
    yield browser
    unexpected = [one for one in browser.complaints() if "status of 400" not in one]
    assert unexpected == []


def test_typed_words_show_clips_that_play(page):
    page.search("a cat")
    assert "cat" in page.captions()[0]
    assert page.until("return document.querySelector('.card video').currentTime > 0.2")
    assert page.playing() >= 5
    assert all(page.run("return [...document.querySelectorAll('video')].map((one) => one.muted && one.loop)"))
    page.picture("search")


def test_clips_far_from_the_window_are_not_loaded(page):
    loaded = page.run("return [...document.querySelectorAll('.card video')].map((one) => !!one.src)")
    assert len(loaded) >= 40 and loaded[0] and not loaded[-1]
    page.run("window.scrollTo(0, document.body.scrollHeight)")
    page.until("return document.querySelectorAll('.card').length > 40")
    page.until("return document.querySelectorAll('.card video')[39].src")
    page.until("return !document.querySelector('.card video').src")


def test_a_range_narrows_the_search_with_live_counts(page):
    page.search("a face")
    page.find("[data-column=motion] .low").send_keys(*["\ue014"] * 60)  # arrow right: 60 of 200 steps
    page.until("return new URLSearchParams(location.search).has('r.motion')")
    page.settled()
    kept = page.until(
        "const found = document.getElementById('kept').textContent; return !found.startsWith('120') && found"
    )
    assert kept.endswith(f"of {CLIPS}") and 0 < int(kept.split()[0]) < CLIPS
    shown = f"Nearest of {kept.split()[0]} clip"
    page.until("return document.getElementById('count').textContent.startsWith(arguments[0])", shown)
    assert any("face" in caption for caption in page.captions()[:10])
    page.picture("filter")
    page.find("[data-column=motion] .reset").click()
    page.until("return document.getElementById('kept').textContent.startsWith('120 ')")


def test_a_word_and_a_condition_narrow_too(page):
    page.find("[data-column=split] input[value=test]").click()
    page.until("return location.search.includes('v.split=test')")
    box = page.find("#where")
    box.send_keys("length(caption) < 12", "\ue007")
    page.until("return location.search.includes('where=')")
    page.settled()
    assert page.captions() and all(len(caption) < 12 for caption in page.captions())


def test_more_like_this_reload_and_back(page):
    page.search("a heart")
    words, first = page.run("return location.search"), page.uids()[:10]
    page.run("document.querySelector('.card .like').click()")
    page.until("return location.search.includes('like=')")
    page.settled()
    assert first[0] not in page.uids() and page.find("#query strong").text
    alike = page.uids()[:10]  # further pages come when there is room
    page.driver.refresh()
    page.settled()
    assert page.uids()[:10] == alike and first[0] in page.run("return location.search")
    page.driver.back()
    page.until("return location.search === arguments[0]", words)
    page.settled()
    assert page.uids()[:10] == first and page.find("#words").get_attribute("value") == "a heart"


def test_the_whole_state_survives_a_reload(page):
    page.open("?q=sun&r.motion=0.1~0.6&v.split=train&where=aesthetic+%3E+2&dup=hide")
    state = "return [document.getElementById('words').value, document.getElementById('where').value, "
    state += "document.getElementById('collapse').checked, document.querySelector('[data-column=motion]').className, "
    state += "document.querySelector('[data-column=split] input[value=train]').checked]"
    assert page.run(state) == ["sun", "aesthetic > 2", True, "column active", True]
    before = page.uids()[:10]
    page.driver.refresh()
    page.settled()
    assert page.uids()[:10] == before != []


def test_a_caption_with_html_is_text(page):
    page.open("?where=contains(caption%2C+%27onerror%27)")
    assert page.captions() == [HOSTILE]
    page.run("document.querySelector('.card .open').click()")
    page.until("return document.getElementById('viewer').open")
    assert page.find("#viewer-caption").text == HOSTILE
    assert "hacked" not in page.driver.title
    assert page.run("return document.querySelectorAll('#grid b, #grid img, #viewer b, #viewer img').length") == 0


def test_the_keyboard_reaches_everything(page):
    page.press("/")
    assert page.run("return document.activeElement.id") == "words"
    page.press("star", "\ue007")
    page.until("return location.search.includes('q=star')")
    page.settled()
    page.press("\ue00c")  # escape leaves the box
    assert page.find("#words").get_attribute("value") == "star" and "q=star" in page.run("return location.search")
    page.press("\ue014", "\ue014", "\ue015")  # the first card, right, down
    across = page.run("return getComputedStyle(document.getElementById('grid')).gridTemplateColumns.split(' ').length")
    at = "return [...document.querySelectorAll('.card')].indexOf(document.activeElement.closest('.card'))"
    assert page.run(at) == 1 + across
    assert page.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    uid = page.uids()[1 + across]
    page.press("x")
    assert page.find("#export").text == "Export 1 selected"
    page.press("\ue007")
    page.until("return document.getElementById('viewer').open && location.search.includes('open=' + arguments[0])", uid)
    page.press("\ue014")
    page.until("return location.search.includes('open=' + arguments[0])", page.uids()[2 + across])
    page.until("return document.querySelector('#stage video')?.currentTime > 0.1")
    page.picture("viewer")
    page.press("\ue00c")
    page.until("return !document.getElementById('viewer').open && !location.search.includes('open=')")
    page.press("m")
    page.until("return location.search.includes('like=')")


def test_an_open_clip_survives_a_reload_and_closes_with_back(page):
    uid = page.uids()[-1]
    page.open(f"?q=cat&open={uid}")
    page.until("return document.getElementById('viewer').open")
    page.open("?q=cat")
    page.run("document.querySelector('.card .open').click()")
    page.until("return document.getElementById('viewer').open")
    page.driver.back()
    page.until("return !document.getElementById('viewer').open")


def test_export_writes_the_manifest(page, folder):
    page.open("?r.motion=0.2~")
    kept = int(page.until("return document.getElementById('kept').textContent.split(' ')[0]"))
    page.find("#export").click()
    page.find("#export-name").send_keys("from-the-page", "\ue007")
    page.until("return document.getElementById('export-note').textContent.startsWith('Wrote')")
    subset = read_subset(folder / "subsets" / "from-the-page.json")
    assert len(subset.uids) == kept and "motion" in subset.provenance["sql"]
    assert set(page.uids()) <= subset.uids


def test_a_dropped_clip_finds_itself(page, folder):
    entry = read_index(folder / "shards")[40]
    path = folder / "dropped.mp4"
    path.write_bytes(entry.read())
    page.find("#file").send_keys(str(path))
    page.until("return location.search.includes('clip=')")
    page.settled()
    assert page.uids()[0] == entry.meta["uid"]
    assert float(page.find(".card .near").text) > 0.97
    assert page.until("return document.getElementById('closeness').textContent").startswith("The nearest is at")
    assert page.playing("#query video") == 1
    path.write_bytes(b"not a clip")
    page.find("#file").send_keys(str(path))
    page.until("return !document.getElementById('message').hidden")
    page.run("dispatchEvent(new DragEvent('dragenter', {dataTransfer: new DataTransfer()}))")


def test_empty_and_error_states_say_what_to_do(page):
    page.open("?q=cat&where=motion+%3E+5")
    assert page.find(".nothing h2").text == "No clip fits"
    page.picture("empty")
    page.find(".nothing button").click()
    page.until("return document.querySelectorAll('.card').length > 5")
    page.open("?q=cat&where=motion+%3E")
    assert "does not parse" in page.find("#message").text
    assert page.find("#where").get_attribute("aria-invalid") == "true"
    page.open("?like=" + "0" * 32)
    assert "no clip" in page.find("#message").text


def test_generated_clips_beside_their_nearest(page):
    page.find("#to-beside").click()
    page.until("return document.querySelectorAll('.pair:not(.skeleton)').length === 4")
    values = page.run("return [...document.querySelectorAll('.meter .value')].map((one) => Number(one.textContent))")
    assert values == sorted(values, reverse=True) and values[0] > 0.97
    page.until("return document.querySelector('.made video').currentTime > 0")
    page.picture("beside")
    page.driver.back()
    page.settled()
    assert len(page.uids()) >= 40


def test_only_the_last_of_hasty_queries_is_shown(page):
    page.run(
        "for (const words of ['cat', 'dog', 'sun', 'sleeping face']) { document.getElementById('words').value = words; "
        "document.getElementById('ask').requestSubmit(); }"
    )
    page.until("return document.querySelector('.card .near')")
    page.settled()
    assert page.captions()[0] == "sleeping face" and page.find("#words").get_attribute("value") == "sleeping face"


@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_narrow_window_shows_everything(page, width):
    page.size(width, 844)
    page.open("?q=dancing")
    assert page.run("return document.documentElement.scrollWidth") <= width
    outside = (
        "return [...document.querySelectorAll('button, input, a, .card')].filter((one) => one.checkVisibility() && "
    )
    outside += "!one.closest('dialog, .hidden') && !one.matches('.hidden, .skip') && "
    outside += "one.getBoundingClientRect().right > innerWidth + 1).length"
    assert page.run(outside) == 0
    page.picture(f"narrow-{width}")
    page.find("summary").click()
    page.until("return document.querySelector('[data-column=motion]').checkVisibility()")
    assert page.run("return document.documentElement.scrollWidth") <= width


CONTRAST = """
const [low, seen] = [[], new Set()];
const rgb = (text) => { const n = text.match(/[\\d.]+/g).map(Number); const unit = text.startsWith('color(') ? 255 : 1;
  return [n[0] * unit, n[1] * unit, n[2] * unit, n[3] ?? 1]; };
const light = ([r, g, b]) => { const f = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
for (const one of document.querySelectorAll('body *')) {
  if (![...one.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim())) continue;
  if (!one.checkVisibility({opacityProperty: true})) continue;
  if (one.closest('.frame, noscript, dialog, .skip, :disabled')) continue;
  let under = one;
  while (under && rgb(getComputedStyle(under).backgroundColor)[3] < 0.5) under = under.parentElement;
  const paper = light(rgb(getComputedStyle(under ?? document.body).backgroundColor));
  const ink = light(rgb(getComputedStyle(one).color));
  const ratio = (Math.max(paper, ink) + 0.05) / (Math.min(paper, ink) + 0.05);
  seen.add(one);
  if (ratio < 4.5) low.push(`${one.className} ${one.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
}
return [seen.size, low];
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page, theme):
    """Source: WCAG 2.2, 1.4.3, ratios of at least 4.5."""
    page.theme(theme)
    for query in ("?q=fire&r.motion=0.1~", "?view=beside", "?q=cat&where=motion+%3E"):
        page.open(query)
        seen, low = page.run(CONTRAST)
        assert seen > 10 and low == [], query
    if theme == "dark":
        page.open("?q=fire")
        page.picture("dark")


def test_nothing_jumps_while_results_come(page):
    page.driver.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument",
        {
            "source": "window.shifts = 0; new PerformanceObserver((list) => { for (const one of list.getEntries()) "
            "if (!one.hadRecentInput) window.shifts += one.value; }).observe({type: 'layout-shift', buffered: true});"
        },
    )
    page.open("?q=cat")
    page.until("return document.querySelector('.card video')?.readyState > 1")
    assert page.run("return window.shifts") < 0.05  # 0.1 counts as good
