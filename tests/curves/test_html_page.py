"""The page, opened from a file in a browser: curves are drawn, controls work, names stay text."""

import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encore import files
from encore.curves import event_runs, html_page
from encore.curves.curve import merge_event_files
from encore.curves.event_file import EventFile, Series
from encore.curves.event_runs import EventRun
from encore.curves.view import View
from helpers.event_files import GENUINE, write_scalars
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webelement import WebElement

PAGE = Path(html_page.__file__).parent / "page"
LOSS = "lm-loss-training/lm loss"
LONG = 30_000
HOSTILE = (
    "</script><script>window.hacked = 1</script>"
    "<img src=x onerror='window.hacked = 1'>\"&amp;\\u003c"
)
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1300,1000",
)


def decaying(name: str, floor: float, count: int) -> EventRun:
    """A run whose loss decays to `floor`, with one outlier; and noise with gaps."""
    steps = np.arange(1, count + 1)
    times_s = 1e9 + steps
    loss = floor + 5 * np.exp(-steps / (count / 8))
    loss[count // 2 - 1] += 2
    noise = np.where(steps % 7, np.sin(steps), math.nan)
    series = {
        LOSS: Series(steps, loss, times_s),
        f"{LOSS} vs tokens": Series(steps * 512, loss, times_s),
        "noise": Series(steps, noise, times_s),
    }
    return EventRun(name, merge_event_files([EventFile(series, None)]))


@pytest.fixture(scope="module")
def two_runs() -> list[EventRun]:
    """Two short runs, so that every point is drawn."""
    return [decaying("146m14b100m", 4.0, 300), decaying("146m14b14b", 3.0, 300)]


@pytest.fixture(scope="module")
def long_run() -> EventRun:
    return decaying("long", 3.0, LONG)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = shutil.which("chromedriver")
    if not driver or not shutil.which("chromium"):
        missing = "no chromium and chromedriver: apt-get install chromium chromium-driver"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    options = webdriver.ChromeOptions()
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options=options, service=Service(driver)) as browser:
        browser.set_script_timeout(30)
        yield browser


class Page:
    """An opened page, as a reader sees it."""

    def __init__(self, browser: webdriver.Chrome, file: Path) -> None:
        self.browser = browser
        for log in ("performance", "browser"):  # empties them
            browser.get_log(log)
        browser.get(file.as_uri())
        self.settle()

    def settle(self) -> None:
        """Wait until everything is drawn, which takes two frames."""
        self.browser.execute_async_script(
            "const done = arguments[0];"
            "requestAnimationFrame(() => requestAnimationFrame(() => done()))"
        )

    def one(self, selector: str) -> WebElement:
        return self.browser.find_element("css selector", selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements("css selector", selector)

    def click(self, element: WebElement) -> None:
        self.browser.execute_script("arguments[0].click()", element)
        self.settle()

    def run(self, name: str) -> WebElement:
        return next(button for button in self.all(".run") if button.text == name)

    def axis(self, name: str) -> None:
        self.click(self.one(f"#axes input[value={name}]"))

    def smooth(self, weight: float) -> None:
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
        self.browser.execute_script(script, self.one("#smoothing"), weight)
        self.settle()

    def hover(self, part: float) -> str:
        """What the first chart tells at a part of its width, from 0 to 1."""
        over = self.one(".u-over")
        away = int((part - 0.5) * over.size["width"])
        ActionChains(self.browser).move_to_element_with_offset(over, away, 0).perform()
        self.settle()
        return self.one(".tip").text

    def drag(self, start: float, end: float) -> None:
        over = self.one(".u-over")
        width = over.size["width"]
        actions = ActionChains(self.browser).move_to_element_with_offset(
            over, int((start - 0.5) * width), 0
        )
        actions.click_and_hold().move_by_offset(int((end - start) * width), 0).release().perform()
        self.settle()

    def ink(self, color: tuple[int, int, int], chart: int = 0, tolerance: int = 23) -> int:
        """How many pixels of a chart have about this colour."""
        script = """
            const [canvas, color, tolerance] = arguments;
            const [width, height] = [canvas.width, canvas.height];
            const copy = Object.assign(document.createElement("canvas"), { width, height });
            const context = copy.getContext("2d", { willReadFrequently: true });
            context.drawImage(canvas, 0, 0);
            const pixels = context.getImageData(0, 0, width, height).data;
            let count = 0;
            for (let i = 0; i < pixels.length; i += 4)
              if (pixels[i + 3] > 200
                  && [0, 1, 2].every((c) => Math.abs(pixels[i + c] - color[c]) <= tolerance))
                count++;
            return count;"""
        return self.browser.execute_script(script, self.all("canvas")[chart], color, tolerance)

    def picture(self, chart: int = 0) -> str:
        return self.browser.execute_script(
            "return arguments[0].toDataURL()", self.all("canvas")[chart]
        )

    def complaints(self) -> list[str]:
        """What the console says, and every request that is neither for a file nor for data."""
        messages = [
            json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")
        ]
        requests = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        urls = [
            r["request"]["url"] for r in requests if r["documentURL"] == self.browser.current_url
        ]
        assert any(url.startswith("file:") for url in urls)
        console = [entry["message"] for entry in self.browser.get_log("browser")]
        return console + [url for url in urls if not url.startswith(("file:", "data:"))]


BLUE = (0x1F, 0x6F, 0xEB)
ORANGE = (0xD9, 0x48, 0x0F)
EPOCH = (0xB4, 0xBD, 0xC8)


def opened(
    browser: webdriver.Chrome, folder: Path, runs: list[EventRun], view: View | None = None
) -> Page:
    file = folder / "curves.html"
    file.write_text(html_page.page(runs, "Two runs", view or View()), encoding="utf-8")
    return Page(browser, file)


def content(page: str) -> dict[str, Any]:
    (text,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL
    )
    return json.loads(text)


@pytest.mark.slow
def test_curves_are_drawn_without_a_word_or_a_request(
    chromium: Any, two_runs: list[EventRun], tmp_path: Path
) -> None:
    page = opened(chromium, tmp_path, two_runs)
    assert [card.get_attribute("data-tag") for card in page.all(".card")] == [LOSS]
    assert min(page.ink(BLUE), page.ink(ORANGE)) > 300
    assert page.one("h1").text == "Two runs" == page.browser.title
    assert page.complaints() == []


@pytest.mark.slow
def test_the_script_of_the_page_alone_may_run_and_nothing_be_fetched(
    chromium: Any, two_runs: list[EventRun], tmp_path: Path
) -> None:
    page = opened(chromium, tmp_path, two_runs)
    page.browser.execute_script(
        """
        const script = document.createElement("script");
        script.textContent = "window.hacked = 1";
        const image = document.createElement("img");
        image.src = "http://127.0.0.1:9/x.png";
        document.body.append(script, image);
        fetch("http://127.0.0.1:9/").catch(() => {});
        """
    )
    page.settle()
    assert page.browser.execute_script("return window.hacked") is None
    refused = [line for line in page.complaints() if "Content Security Policy" in line]
    for kind in ("script", "img", "default"):
        assert sum(f"{kind}-src" in line for line in refused) == 1, refused


@pytest.mark.slow
def test_dragging_zooms_and_a_double_click_shows_everything_again(
    chromium: Any, two_runs: list[EventRun], tmp_path: Path
) -> None:
    page = opened(chromium, tmp_path, two_runs)
    whole = page.picture()
    assert not page.one("#reset").is_displayed()
    assert "\n146m14b100m" in page.hover(0.02) and int(page.hover(0.02).split()[0]) < 20
    page.drag(0.5, 0.75)
    left, right = (int(page.hover(part).split()[0]) for part in (0.02, 0.98))
    assert 145 < left < 165 and 215 < right < 230
    assert page.picture() != whole and page.one("#reset").is_displayed()
    ActionChains(chromium).double_click(page.one(".u-over")).perform()
    page.settle()
    assert page.picture() == whole and not page.one("#reset").is_displayed()
    page.drag(0.1, 0.2)
    page.click(page.one("#reset"))
    assert page.picture() == whole


@pytest.mark.slow
def test_a_finger_zooms_too(chromium: Any, two_runs: list[EventRun], tmp_path: Path) -> None:
    page = opened(chromium, tmp_path, two_runs)
    over = page.one(".u-over")
    script = """
        const [over] = arguments, box = over.getBoundingClientRect();
        const touch = (kind, part) => {
          const place = { clientX: box.left + part * box.width, clientY: box.top + 50 };
          const options = { pointerType: "touch", bubbles: true, ...place };
          over.dispatchEvent(new PointerEvent(kind, options));
        };
        touch("pointerdown", 0.5);
        touch("pointermove", 0.6);
        touch("pointermove", 0.75);
        touch("pointerup", 0.75);"""
    chromium.execute_script(script, over)
    page.settle()
    assert 145 < int(page.hover(0.02).split()[0]) < 165


@pytest.mark.slow
def test_a_run_can_be_hidden_and_shown(
    chromium: Any, two_runs: list[EventRun], tmp_path: Path
) -> None:
    page = opened(chromium, tmp_path, two_runs)
    first, second = (run.name for run in two_runs)
    page.click(page.run(first))
    assert page.run(first).get_attribute("aria-pressed") == "false"
    assert page.ink(BLUE) == 0 and page.ink(ORANGE) > 300
    assert [row.text.split()[2] for row in page.all("#rows tr")] == [second]
    page.click(page.run(second))
    assert page.one(".nothing").text == "its runs are hidden"
    page.click(page.run(first))
    assert page.ink(BLUE) > 300 and page.ink(ORANGE) == 0
    assert page.complaints() == []


@pytest.mark.slow
def test_the_axis_smoothing_and_the_logarithm_change_what_is_drawn(
    chromium: Any, two_runs: list[EventRun], tmp_path: Path
) -> None:
    page = opened(chromium, tmp_path, two_runs, View(axis="tokens", smoothing=0.5))
    assert re.match(r"76,\d{3} tokens\n", page.hover(0.5))
    pictures = [page.picture()]
    page.axis("hours")
    assert re.match(r"0\.04\d* hours\n", page.hover(0.5))
    page.axis("steps")
    for weight in (0.0, 0.95):
        page.smooth(weight)
        pictures.append(page.picture())
    page.click(page.one("#log"))
    pictures.append(page.picture())
    assert len(set(pictures)) == 4 and page.one("#weight").text == "0.95"
    assert not page.all("#axes input[value=samples]"), "an axis that no run knows is not offered"
    assert page.complaints() == []


@pytest.mark.slow
def test_every_tag_of_a_genuine_run_is_drawn_along_every_axis(
    chromium: Any, tmp_path: Path
) -> None:
    page = opened(chromium, tmp_path, [event_runs.read("tiny", GENUINE)])
    page.click(page.one("#all"))
    assert len(page.all(".card")) == len(page.all("canvas")) == 14
    for axis in ("samples", "tokens", "hours", "steps"):
        page.axis(axis)
        assert all(page.ink(BLUE, chart) > 5 for chart in range(14)), axis
    page.drag(0.3, 0.6)
    page.click(page.one("#log"))
    cards = {card.get_attribute("data-tag"): card for card in page.all(".card")}
    assert cards["num-zeros/num-zeros"].text.endswith("nothing above 0")
    assert page.complaints() == []


@pytest.mark.slow
def test_a_run_that_does_not_know_the_asked_axis_is_drawn_along_one_that_it_knows(
    chromium: Any, tmp_path: Path
) -> None:
    write_scalars(
        tmp_path / "events.out.tfevents.1.h", [(1.0, step, "loss", 5 / step) for step in (1, 2, 3)]
    )
    page = opened(chromium, tmp_path, [event_runs.read("a", tmp_path)], View(axis="tokens"))
    assert page.one("#axes input:checked").get_attribute("value") == "steps"
    assert page.ink(BLUE) > 50 and page.complaints() == []


@pytest.mark.slow
def test_tags_are_searched_and_chosen(
    chromium: Any, two_runs: list[EventRun], tmp_path: Path
) -> None:
    page = opened(chromium, tmp_path, two_runs)
    page.one("#search").send_keys("NOI")
    assert [tag.text for tag in page.all(".tag")] == ["noise"]
    page.click(page.one(".tag input"))
    assert [card.get_attribute("data-tag") for card in page.all(".card")] == [LOSS, "noise"]
    assert page.one("#chosen").text == "2 of 2"
    assert "not finite" in page.all("#rows tr")[2].text
    page.one("#search").clear()
    page.one("#search").send_keys("loss")
    page.click(page.one("#none"))
    assert [card.get_attribute("data-tag") for card in page.all(".card")] == ["noise"]
    page.axis("tokens")
    assert page.one(".nothing").text == "not known along tokens"
    assert page.complaints() == []


@pytest.mark.slow
def test_the_table_states_the_last_and_the_extreme_values(
    chromium: Any, two_runs: list[EventRun], tmp_path: Path
) -> None:
    page = opened(chromium, tmp_path, two_runs)
    curve = two_runs[0].curves[LOSS]
    cells = [cell.text for cell in page.all("#rows tr:first-child td")]
    assert cells[:2] == [LOSS, two_runs[0].name] and cells[3] == "300" and cells[6] == "300"
    stated = [float(cells[i]) for i in (2, 4, 5)]
    assert stated == pytest.approx(
        [curve.values[-1], curve.values.min(), curve.values.max()], rel=1e-4
    )


@pytest.mark.slow
def test_names_from_outside_stay_text(chromium: Any, tmp_path: Path) -> None:
    write_scalars(
        tmp_path / "events.out.tfevents.1.h",
        [(1.0, step, HOSTILE, 1.0 + step) for step in range(5)],
    )
    file = tmp_path / "curves.html"
    file.write_text(
        html_page.page([event_runs.read(HOSTILE, tmp_path)], HOSTILE, View()), encoding="utf-8"
    )
    page = Page(chromium, file)
    assert chromium.execute_script("return window.hacked") is None
    assert page.browser.title == page.one("h1").text == page.one(".run").text == HOSTILE
    assert page.one(".card").get_attribute("data-tag") == HOSTILE and page.ink(BLUE) > 50
    assert HOSTILE.split("/")[0] in page.hover(0.5)
    assert page.complaints() == []


@pytest.mark.slow
@pytest.mark.parametrize(("width", "tags_open"), [(1300, True), (380, False)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_wide_and_narrow_windows_in_light_and_dark(
    chromium: Any,
    two_runs: list[EventRun],
    tmp_path: Path,
    scheme: str,
    width: int,
    tags_open: bool,
) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        page = opened(chromium, tmp_path, two_runs)
        assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
        background = page.one("body").value_of_css_property("background-color")
        assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == (scheme == "dark")
        assert (page.ink(BLUE) > 100) == (scheme == "light"), "colours are those of the scheme"
        assert (page.one("#picker").get_attribute("open") is not None) == tags_open
        assert page.complaints() == []
    finally:
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.slow
def test_epochs_are_marked_along_tokens_alone(
    chromium: Any, two_runs: list[EventRun], tmp_path: Path
) -> None:
    last = 300 * 512
    view = View(axis="tokens", unique_tokens=last // 5)
    page = opened(chromium, tmp_path, two_runs, view)
    height = page.one(".u-over").size["height"]
    # four borders, less where curves cross them
    assert 3 * height < page.ink(EPOCH, tolerance=2) <= 4 * height
    assert page.one("#epochs").text.endswith("epochs of 30,720 unique tokens.")
    page.drag(0.25, 0.35)
    assert page.ink(EPOCH, tolerance=2) == 0, "there is no border between 25% and 35%"
    page.axis("steps")
    assert page.ink(EPOCH, tolerance=2) == 0
    assert page.complaints() == []


@pytest.mark.slow
def test_epochs_too_dense_to_tell_apart_are_not_drawn(
    chromium: Any, two_runs: list[EventRun], tmp_path: Path
) -> None:
    page = opened(chromium, tmp_path, two_runs, View(axis="tokens", unique_tokens=256))
    assert page.ink(EPOCH, tolerance=2) == 0
    page.drag(0.5, 0.51)
    assert page.ink(EPOCH, tolerance=2) > 0
    assert page.complaints() == []


@pytest.mark.slow
def test_a_long_run_is_thinned_and_the_page_says_so(
    chromium: Any, long_run: EventRun, tmp_path: Path
) -> None:
    page = opened(chromium, tmp_path, [long_run])
    assert page.one("#thinned").text.startswith("Curves of more than 2,000 points")
    assert page.ink(BLUE) > 300
    tip = page.hover(0.5)
    assert re.search(r"\nlong\n\S+\n\S+ to \S+", tip), tip
    assert (tmp_path / "curves.html").stat().st_size < 1_000_000


def test_thinning_keeps_every_extreme(long_run: EventRun) -> None:
    (curve,) = content(html_page.page([long_run], "long", View()))["curves"][LOSS]
    values = long_run.curves[LOSS].values
    assert len(curve["values"]) == len(curve["steps"]) == 2000 and curve["count"] == LONG
    parts = values.reshape(2000, LONG // 2000)
    assert curve["low"] == pytest.approx(parts.min(axis=1).tolist())
    assert curve["high"] == pytest.approx(parts.max(axis=1).tolist())
    assert curve["values"] == pytest.approx(parts.mean(axis=1).tolist())
    assert curve["steps"] == list(range(15, LONG + 1, 15))
    assert (curve["lowest"], curve["highest"]) == (values.min(), values.max())


def test_many_tags_share_the_room() -> None:
    steps = np.arange(500)
    series = {f"layer.{layer}/norm": Series(steps, steps / 7, 1e9 + steps) for layer in range(300)}
    run = EventRun("many", merge_event_files([EventFile(series, None)]))
    page = html_page.page([run], "many", View())
    assert len(page) < 6_000_000 and content(page)["thinned"] == 400


def test_a_short_run_is_there_point_by_point() -> None:
    run = event_runs.read("tiny", GENUINE)
    held = content(html_page.page([run], "tiny", View()))
    (curve,) = held["curves"][LOSS]
    assert held["shown"] == [LOSS, "lm-loss-validation/valid/lm loss validation"]
    assert curve["tokens"] == run.curves[LOSS].tokens.tolist() and curve["low"] is None
    assert curve["values"] == pytest.approx(run.curves[LOSS].values.tolist(), rel=1e-6)
    assert held["axes"] == ["steps", "samples", "tokens", "hours"] and not held["thinned"]


def test_the_chart_library_is_the_released_one() -> None:
    readme = (PAGE / "README.md").read_text(encoding="utf-8")
    released = dict(re.findall(r"^\| `(uPlot\.\S+)` \| `([0-9a-f]{64})` \|$", readme, re.MULTILINE))
    vendored = {path.name: files.sha256(path) for path in PAGE.glob("uPlot*")}
    assert vendored == released and "uPlot.LICENSE" in released
    (version,) = re.findall(r"uPlot (\d+\.\d+\.\d+), MIT", readme)
    assert f"(v{version})" in (PAGE / "uPlot.iife.min.js").read_text(encoding="utf-8")[:100]
