"""A headless Chromium over the explorer of a small real dataset, or over any page, for the tests of pages."""

import os
import shutil
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ode_vgan.data.clips import decode_clip, encode_clip
from ode_vgan.data.shards import read_index
from ode_vgan.laion.index import build_index
from tests.laion_fixture import make_dataset

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
CLIPS = 120
WAIT_SECONDS = 40


def need_browser() -> None:
    """Skip the test where there is no browser, or nothing to drive it with."""
    pytest.importorskip("selenium", reason="selenium is not installed")
    for name, path in (("chromium", CHROMIUM), ("chromedriver", DRIVER)):
        if path is None:
            pytest.skip(f"no {name} on the path: the page is tested where there is one")


def make_real_dataset(folder: Path) -> Path:
    """Real clips with MatchedEmbedder's vectors, seeded scores, and a folder of four clips as if generated."""
    from ode_vgan.embed.matched import open_embedder
    from ode_vgan.laion.embeddings import embed_shards

    make_dataset(folder, CLIPS, per_shard=60, every=6)
    shutil.rmtree(folder / "emb")
    embed_shards(folder, open_embedder("matched"))
    for path in sorted((folder / "scores").glob("*.parquet")):
        _real_similarity(path, folder / "emb" / "metadata" / f"metadata_{int(path.stem):04d}.parquet")
    build_index(folder)
    made = folder / "generated"
    made.mkdir()
    for i, entry in enumerate(read_index(folder / "shards")[7 : 7 + 4 * 25 : 25]):
        clip = decode_clip(entry.read())
        frames = (clip.frames, 255 - clip.frames, clip.frames[:, ::-1], clip.frames)[i]
        encode_clip(made / f"sample_{i:03d}.mp4", frames, clip.times)
    return folder


def _real_similarity(scores: Path, embedded: Path) -> None:
    """Scores with the measured similarity, and others spread as real ones are: most clips are safe and clean."""
    table = pq.read_table(scores)
    found = dict(zip(*(pq.read_table(embedded)[name].to_pylist() for name in ("key", "similarity")), strict=True))
    random = np.random.default_rng(int(scores.stem))
    columns = {"similarity": [found.get(key) for key in table["key"].to_pylist()]}
    for name, shape in (("punsafe", (1, 18)), ("pwatermark", (1, 7)), ("ptoxic", (1, 25)), ("motion", (2, 6))):
        columns[name] = random.beta(*shape, len(table))
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values, pa.float64()))
    pq.write_table(table, scores)


@contextmanager
def running(folder: Path):
    """The address of the explorer's server, which runs while the block does."""
    from ode_vgan.embed.matched import open_embedder
    from ode_vgan.web.explorer import Explorer, create_app

    explorer = Explorer(folder, open_embedder("matched"), folder / "generated")
    explorer.search.embed_text("the first query loads the model")
    with served(create_app(explorer)) as address:
        yield address


@contextmanager
def served(app):
    """The address of an application that is served while the block runs."""
    import uvicorn

    from ode_vgan.web.server import listen

    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join(10)


class Page:
    """The page in a browser: what a reader does and sees."""

    def __init__(self, address: str, screenshots: Path):
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        self.address, self.screenshots = address, screenshots
        self.size(1360, 900)

    def size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def theme(self, name: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, query: str = "") -> None:
        self.driver.get(self.address + query)
        self.settled()

    def settled(self) -> None:
        """Wait until results, a message or the absence of clips is shown."""
        self.until(
            "return document.readyState === 'complete' && !document.querySelector('[aria-busy=true], .skeleton') && "
            "(!!document.querySelector('.card, .nothing, .pair') || !document.getElementById('message').hidden)"
        )

    def run(self, script: str, *arguments):
        return self.driver.execute_script(script, *arguments)

    def until(self, script: str, *arguments):
        """Wait until a script returns something true, and return it."""
        end = time.monotonic() + WAIT_SECONDS
        while not (found := self.run(script, *arguments)):
            assert time.monotonic() < end, f"{WAIT_SECONDS} s passed without: {script}"
            time.sleep(0.05)
        return found

    def find(self, selector: str):
        return self.driver.find_element("css selector", selector)

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def search(self, words: str) -> None:
        from selenium.webdriver.common.keys import Keys

        box = self.find("#words")
        box.clear()
        box.send_keys(words, Keys.ENTER)
        self.until("return new URLSearchParams(location.search).get('q') === arguments[0]", words)
        self.settled()

    def captions(self) -> list[str]:
        return self.run("return [...document.querySelectorAll('.card .caption')].map((one) => one.textContent)")

    def uids(self) -> list[str]:
        return self.run("return [...document.querySelectorAll('.card')].map((one) => one.dataset.uid)")

    def playing(self, selector: str = ".card video") -> int:
        """Clips in sight whose time goes on."""
        script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.src ? one.currentTime : -1)"
        first = self.run(script, selector)
        time.sleep(0.5)
        return sum(now >= 0 and now != then for then, now in zip(first, self.run(script, selector), strict=False))

    def picture(self, name: str) -> None:
        """Save what is seen, once the clips in sight have a picture."""
        self.until(
            "return [...document.querySelectorAll('video')].filter((one) => {const box = one.getBoundingClientRect(); "
            "return box.top < innerHeight && box.bottom > 0 && box.width;}).every((one) => one.readyState > 1)"
        )
        time.sleep(0.6)
        self.driver.save_screenshot(str(self.screenshots / f"{name}.png"))

    def complaints(self) -> list[str]:
        """Errors in the browser's console since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


def screenshot_folder(otherwise: Path) -> Path:
    """$ODE_VGAN_SCREENSHOTS, or the given folder."""
    folder = Path(os.environ.get("ODE_VGAN_SCREENSHOTS") or otherwise)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
