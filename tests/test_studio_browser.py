"""The studio's page in a real browser: words, time, models side by side, and a film to keep."""

import time

import pytest

from ode_vgan.data.clips import decode_clip
from ode_vgan.web.studio import create_app
from tests.browser import Page, need_browser, screenshot_folder, served
from tests.known import FRAMES, GAP, PX
from tests.studio_fixture import made_studio

pytestmark = pytest.mark.slow

READY = "return document.body.classList.contains('ready')"
IDLE = "return document.body.getAttribute('aria-busy') !== 'true'"
PIXELS = (
    "const one = document.querySelector(`[data-run=${arguments[0]}] .screen`); "
    "return [...one.getContext('2d').getImageData(0, 0, one.width, one.height).data].join()"
)
ASKED = "return document.querySelector(`[data-run=${arguments[0]}] .asked`).textContent"
RIGHT, HOME, END, SPACE, ESCAPE = "\ue014", "\ue011", "\ue010", "\ue00d", "\ue00c"


class StudioPage(Page):
    """What a person does and sees in the studio."""

    def open(self, query: str = "?t=0") -> None:
        self.driver.get(self.address + query)
        self.until(READY)
        self.until(IDLE)

    def pixels(self, run: str) -> str:
        return self.run(PIXELS, run)

    def asked(self, run: str) -> str:
        return self.run(ASKED, run)

    def scrub(self, t: float) -> None:
        script = "const one = document.getElementById('time'); one.value = arguments[0]; "
        self.run(script + "one.dispatchEvent(new Event('input'))", t)

    def type(self, selector: str, text: str) -> None:
        box = self.find(selector)
        box.clear()
        box.send_keys(text)

    def photo(self, name: str) -> None:
        time.sleep(0.4)
        self.driver.save_screenshot(str(self.screenshots / f"studio_{name}.png"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    need_browser()
    folder = tmp_path_factory.mktemp("studio")
    with served(create_app(made_studio(folder))) as address:
        page = StudioPage(address, screenshot_folder(folder / "screenshots"))
        downloads = {"behavior": "allow", "downloadPath": str(folder / "downloads")}
        page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", downloads)
        page.downloads = folder / "downloads"
        yield page
        page.driver.quit()


@pytest.fixture
def page(browser):
    """The page as it opens, paused at the start; its console must stay silent."""
    browser.theme("light")
    browser.size(1360, 900)
    browser.open()
    browser.complaints()
    yield browser
    assert [one for one in browser.complaints() if "status of 409" not in one] == []  # a newer question came


def test_prompt_scrub_compare_export(page):
    before = {run: page.pixels(run) for run in ("ode", "sde", "rnn", "discrete")}
    page.type("#text", "a square moving left")
    page.until("return new URLSearchParams(location.search).get('text') === 'a square moving left'")
    page.until(IDLE)
    assert all(page.pixels(run) != old for run, old in before.items())  # words
    page.scrub(GAP * 1.4)
    page.until(
        "return document.querySelector('[data-run=ode] .asked').textContent.startsWith('asked at this very time')"
    )
    assert page.asked("ode").endswith(f"{GAP * 1.4:.3f} s") and page.asked("rnn") == f"frame at {GAP:.3f} s"  # time
    page.photo("scrub")
    page.run("document.querySelectorAll('#models input')[3].click()")
    page.until("return document.querySelectorAll('.card').length === 3")  # compare
    assert page.run("return new URLSearchParams(location.search).getAll('hidden')") == ["discrete"]
    page.find("#film").click()
    film = saved(page, "a-square-moving-left.mp4")
    assert len(film.times) == FRAMES and film.frames.shape[2] > 3 * PX  # three clips side by side
    page.run("document.querySelector('[data-run=ode] .actions button').click()")
    assert saved(page, "a-square-moving-left-ode.mp4").frames.shape[1] == 128


def saved(page, name: str):
    path, end = page.downloads / name, time.monotonic() + 20
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < end, f"no {name}"
        time.sleep(0.05)
    time.sleep(0.1)
    return decode_clip(path)


def test_time_goes_on_backwards_and_stretched(page):
    page.press(SPACE)
    page.until("return Number(document.getElementById('time').value) > 0.2")
    page.until("return Number(document.getElementById('time').value) < 0.05")  # again from the start
    page.press(SPACE, "b", "[", "[")
    assert page.find("#backwards").get_attribute("aria-pressed") == "true"
    assert page.find("#speed-told").text == "0.5x"
    page.until(IDLE)
    told = page.run("return document.querySelector('[data-run=ode] .cost').textContent")
    assert told.startswith(f"{2 * (FRAMES - 1) + 1} frames")  # half the speed is twice the frames, each asked for
    page.press(END, SPACE)
    script = "return parseFloat(document.getElementById('now').textContent) < arguments[0]"
    page.until(script, GAP * (FRAMES - 1) - 0.01)


def test_beyond_the_window_and_before_the_start_each_model_shows_what_it_can(page):
    page.find("#beyond").click()
    page.until(IDLE)
    page.press(END)
    assert "no frame here" in page.find("[data-run=discrete] .fault").text
    assert page.asked("rnn").startswith("frame at 0.7")
    page.photo("beyond")
    page.find("#before").click()
    page.until(IDLE)
    page.press(HOME)
    page.until("return document.querySelector('[data-run=ode] .asked').textContent.includes('-0.25')")
    assert "no frame here: it makes 0.00" in page.find("[data-run=sde] .fault").text


def test_walks_and_noise(page):
    page.type("#text_to", "a disc moving up")
    page.until("return !document.getElementById('text_mix').disabled && location.search.includes('text_mix=0.5')")
    page.press("\ue004")
    page.type("#seed_to", "7\ue007")
    page.until("return location.search.includes('seed_mix=0.5')")
    page.until(IDLE)
    page.press(ESCAPE, END)
    before = page.pixels("ode"), page.pixels("sde")
    page.find("#renoise").click()
    page.until("return location.search.includes('noise=')")
    page.until(IDLE)
    assert page.pixels("ode") == before[0] and page.pixels("sde") != before[1]
    page.find("#denoise").click()
    page.until("return !location.search.includes('noise=')")
    page.until(IDLE)
    assert page.pixels("sde") == before[1]


def test_a_reload_shows_the_same(page):
    page.open("?t=0.1&text=a+disc+moving+up&seed=4&speed=-1&high=0.5&hidden=rnn&smooth=1")
    shown = [page.pixels(run) for run in ("ode", "sde", "discrete")]
    search = page.run("return location.search")
    page.driver.refresh()
    page.until(READY)
    page.until(IDLE)
    assert [page.pixels(run) for run in ("ode", "sde", "discrete")] == shown
    assert page.run("return location.search") == search and "hidden=rnn" in search


def test_the_keyboard_reaches_everything(page):
    page.press("/")
    assert page.run("return document.activeElement.id") == "text"
    page.press(ESCAPE, RIGHT)
    assert page.run("return document.getElementById('now').textContent") == f"{GAP:.3f} s"
    page.press("r")
    page.until("return new URLSearchParams(location.search).has('seed')")
    page.press("n")
    page.until("return new URLSearchParams(location.search).has('noise')")
    page.press("?")
    assert page.run("return document.getElementById('keys').open")
    page.press(ESCAPE)
    names = "return [...document.querySelectorAll('button, input, select')].filter((one) => !one.labels?.length && "
    names += "!one.textContent.trim() && !one.getAttribute('aria-label')).map((one) => one.id)"
    assert page.run(names) == []
    page.until(IDLE)


def test_a_drag_over_a_clip_scrubs(page):
    script = """
      const one = document.querySelector('[data-run=ode] .stage'), box = one.getBoundingClientRect();
      const at = (kind, share) => one.dispatchEvent(new PointerEvent(kind, {pointerId: 1, pointerType: 'touch',
        isPrimary: true, bubbles: true, clientX: box.left + share * box.width, clientY: box.top + 5}));
      one.setPointerCapture = () => {}; one.hasPointerCapture = () => true;
      at('pointerdown', 0.25); at('pointermove', 0.75);
      return Number(document.getElementById('time').value)"""
    assert page.run(script) == pytest.approx(0.75 * GAP * (FRAMES - 1), abs=1e-3)


def test_fast_typing_leaves_the_last_words_on_the_page(page):
    page.run(
        "const box = document.getElementById('text'); for (const word of ['a', 'a d', 'a di', 'a disc moving down']) "
        "{ box.value = word; box.dispatchEvent(new Event('input')); }"
    )
    page.until("return location.search.includes('a+disc+moving+down')")
    page.until(IDLE)
    last = page.pixels("ode")
    page.open("?t=0&text=a+disc+moving+down")
    assert page.pixels("ode") == last


@pytest.mark.parametrize(("width", "height"), [(1360, 900), (768, 1024), (360, 740)])
def test_nothing_runs_over_the_side(page, width, height):
    page.size(width, height)
    page.open()
    assert page.run("return document.documentElement.scrollWidth") <= width
    top, bottom = page.run(
        "const one = document.querySelector('.screen').getBoundingClientRect(); "
        "return [one.top, document.querySelector('footer').getBoundingClientRect().top]"
    )
    assert top < bottom - 40  # a clip is in sight above the timeline
    page.photo(f"{width}")
