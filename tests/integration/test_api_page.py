"""The page at `/` in a real browser: an image is chosen and its answer read, a scene asked about, a key wanted."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys as Press
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from services.api.app import create_app
from services.api.options import ApiOptions
from services.core.boxes import BBox
from services.core.catalog.entries import ModelStage
from services.core.catalog.keys import Keys
from services.core.catalog.stages import Stages
from services.core.ingest import ingest_scene
from services.core.job import JobRequest
from services.core.model.package import shipped_package
from services.core.model.package_save import save_package
from services.core.raster.open import OpenOptions
from services.core.raster.place import window_of_bbox
from services.core.records import Run
from services.core.settings import Settings
from services.core.site import Site, open_site
from services.inference.runs import complete, start_run
from tests.live_app import live
from tests.models import PICTURE_CLASSES, make_classifier
from tests.scenes import write_scene

PATIENCE_S = 60
#: Text on what it stands on.
PAIRS = [
    ("ink", "card"),
    ("ink", "ground"),
    ("ink", "track"),
    ("soft", "card"),
    ("soft", "ground"),
    ("soft", "track"),
    ("accent", "card"),
    ("accent", "ground"),
    ("on-accent", "accent"),
    ("bad", "bad-ground"),
]
COLORS = sorted({name for pair in PAIRS for name in pair})


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_classifier(tmp_path_factory.mktemp("page") / "chance-rgb").root


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Headless Chromium, or a skip that says why."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        why = "no browser here: install chromium and chromedriver"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    options = ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    profile = tmp_path_factory.mktemp("profile")
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.add_argument(f"--user-data-dir={profile}")
    options.add_argument("--window-size=1200,900")
    chrome = Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


@pytest.fixture
def site(tmp_path: Path, model_folder: Path) -> Iterator[Site]:
    settings = Settings(home=tmp_path / "home", api_model=str(model_folder), backend="onnxruntime")
    with open_site(settings) as opened:
        yield opened


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "field.jpg"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    return path


def luminance(color: str) -> float:
    """Relative, of `#rrggbb`: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    levels = [value / 255 for value in bytes.fromhex(color.removeprefix("#"))]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in levels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


def wait_for(browser: Chrome, script: str) -> None:
    """Until it is so in the page; how long that takes is the machine's business."""
    WebDriverWait(browser, PATIENCE_S).until(lambda it: it.execute_script(f"return Boolean({script})"))


@contextmanager
def screen(browser: Chrome, width: int, *, mobile: bool = False) -> Iterator[None]:
    """A screen of this width, and the old one afterwards."""
    metrics = {"width": width, "height": 740, "deviceScaleFactor": 2, "mobile": mobile}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def ask_about_first_scene(browser: Chrome) -> None:
    """Its middle, by the first model."""
    browser.find_element(By.ID, "tab-scene").click()
    wait_for(browser, "document.querySelector('#scenes button') && document.querySelector('#model option')")
    browser.find_element(By.CSS_SELECTOR, "#scenes button").click()
    browser.find_element(By.CSS_SELECTOR, "#window [type=submit]").click()


def shown(browser: Chrome, name: str) -> str:
    return browser.find_element(By.ID, name).text


def keep_picture(browser: Chrome, name: str) -> None:
    """For people to look at, where SWATH_TEST_PICTURES names a folder."""
    folder = os.environ.get("SWATH_TEST_PICTURES")
    if folder:
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def complaints(browser: Chrome) -> list[str]:
    """What the page wrote to the console, such as a breach of its own policy; a refused request is logged there too."""
    return [line["message"] for line in browser.get_log("browser") if "Failed to load resource" not in line["message"]]


def test_an_image_is_chosen_and_its_answer_read(browser, site, picture):
    with live(create_app(site)) as address:
        browser.get(address)
        browser.find_element(By.ID, "file").send_keys(str(picture))
        wait_for(browser, "!document.getElementById('result').hidden")
        assert shown(browser, "top").split()[0] in PICTURE_CLASSES
        assert len(browser.find_elements(By.CSS_SELECTOR, "#bars li")) == len(PICTURE_CLASSES)
        keep_picture(browser, "image")
    assert complaints(browser) == []


def test_what_is_no_image_is_refused_in_a_sentence(browser, site, tmp_path):
    path = tmp_path / "letter.jpg"
    path.write_bytes(b"Dear model, what am I?")
    with live(create_app(site)) as address:
        browser.get(address)
        browser.find_element(By.ID, "file").send_keys(str(path))
        wait_for(browser, "document.getElementById('problem').textContent")
        keep_picture(browser, "refused")
        assert shown(browser, "problem").endswith(".")
        assert not browser.find_element(By.ID, "result").is_displayed()


def drop(browser: Chrome, path: Path) -> None:
    """As from a window of files beside the browser."""
    box = browser.find_element(By.ID, "drop").rect
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    files = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, **place, "data": files})


def test_a_dropped_folder_is_called_what_it_is(browser, site, tmp_path):
    (tmp_path / "images").mkdir()
    with live(create_app(site)) as address:
        browser.get(address)
        drop(browser, tmp_path / "images")
        wait_for(browser, "document.getElementById('problem').textContent")
        assert shown(browser, "problem") == "images cannot be read. If it is a folder, drop one of its images."


def test_an_image_of_another_kind_than_its_name_says_is_answered(browser, site, picture):
    path = picture.with_name("really-a-png.jpg")
    Image.open(picture).save(path, "PNG")
    with live(create_app(site)) as address:
        browser.get(address)
        drop(browser, path)
        wait_for(browser, "!document.getElementById('result').hidden")
        assert shown(browser, "top").split()[0] in PICTURE_CLASSES


def test_a_scene_is_clicked_and_its_middle_asked_about(browser, site, tmp_path):
    ingest_scene(site, [str(write_scene(tmp_path / "scene.tif"))], OpenOptions())
    with live(create_app(site)) as address:
        browser.get(address)
        ask_about_first_scene(browser)
        wait_for(browser, "!document.getElementById('result').hidden")
        keep_picture(browser, "scene")
        assert shown(browser, "top") in {"Mostly dark", "Mostly bright"}
        assert browser.find_element(By.ID, "preview").is_displayed()
    assert complaints(browser) == []


def test_a_window_too_large_is_followed_as_a_run(browser, site, tmp_path):
    scene = ingest_scene(site, [str(write_scene(tmp_path / "scene.tif"))], OpenOptions())
    small = site.settings.model_copy(update={"api_infer_pixels": 100})

    def start(*, scene_id: str, model: str, bbox: BBox) -> Run:
        out = str(tmp_path / "out")
        package = site.models.known(model)
        task = start_run(
            site,
            scene,
            package,
            request=JobRequest(window=window_of_bbox(scene, bbox)),
            out=out,
            command=f"swath run {scene_id}",
        )
        return complete(site, task, stop=threading.Event()).run

    options = ApiOptions(start_run=start)
    with live(create_app(Site(small, site.store, site.catalog, site.ledger), options)) as address:
        browser.get(address)
        ask_about_first_scene(browser)
        wait_for(browser, "document.getElementById('say').textContent.includes('has mapped the window')")


def test_the_page_asks_for_a_key_and_goes_on_with_it(browser, site, picture):
    settings = site.settings.model_copy(update={"api_auth": "keys"})
    _, key = Keys(site.catalog).create("page")
    with live(create_app(Site(settings, site.store, site.catalog, site.ledger))) as address:
        browser.get(address)
        browser.find_element(By.ID, "file").send_keys(str(picture))
        wait_for(browser, "document.activeElement.id === 'key'")
        keep_picture(browser, "key")
        browser.switch_to.active_element.send_keys(key + Press.ENTER)
        wait_for(browser, "!document.getElementById('result').hidden")
        stored = browser.execute_script("return JSON.stringify([localStorage, sessionStorage, document.cookie])")
        assert key not in stored + browser.current_url


def test_a_key_with_letters_that_none_has_is_asked_for_again(browser, site, picture):
    settings = site.settings.model_copy(update={"api_auth": "keys"})
    with live(create_app(Site(settings, site.store, site.catalog, site.ledger))) as address:
        browser.get(address)
        browser.find_element(By.ID, "file").send_keys(str(picture))
        wait_for(browser, "document.activeElement.id === 'key'")
        browser.switch_to.active_element.send_keys("\u201cswath\u201d" + Press.ENTER)
        wait_for(browser, "document.getElementById('problem').textContent.includes('letters')")
        assert browser.find_element(By.ID, "key").is_displayed()
    assert complaints(browser) == []


def test_each_model_of_the_list_answers_under_its_own_digest(browser, site, tmp_path):
    shipped = shipped_package("brightness")
    files = {name: shipped.read(name) for name in shipped.files}
    promoted = save_package(tmp_path / "promoted", {**files, "card.md": b"# Of the same name\n"})
    site.models.keep(promoted)
    Stages(site.catalog).promote(promoted.digest, stage=ModelStage.PRODUCTION, who="test", why="test")
    ingest_scene(site, [str(write_scene(tmp_path / "scene.tif"))], OpenOptions())
    with live(create_app(site)) as address:
        browser.get(address)
        ask_about_first_scene(browser)
        for package in (promoted, shipped):
            Select(browser.find_element(By.ID, "model")).select_by_value(package.digest)
            browser.find_element(By.CSS_SELECTOR, "#window [type=submit]").click()
            wait_for(browser, f"document.getElementById('facts').textContent.includes('{package.digest[:12]}')")


def test_the_tabs_go_by_the_arrow_keys(browser, site):
    with live(create_app(site)) as address:
        browser.get(address)
        tab = browser.find_element(By.ID, "tab-image")
        tab.send_keys(Press.ARROW_RIGHT)
        assert browser.switch_to.active_element.get_attribute("id") == "tab-scene"
        assert browser.find_element(By.ID, "panel-scene").is_displayed()
        wait_for(browser, "document.getElementById('scenes-note').textContent.includes('swath ingest')")


def test_nothing_is_wider_than_a_phone(browser, site, picture):
    with live(create_app(site)) as address, screen(browser, 360, mobile=True):
        browser.get(address)
        browser.find_element(By.ID, "file").send_keys(str(picture))
        wait_for(browser, "!document.getElementById('result').hidden")
        keep_picture(browser, "phone")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360


def test_no_number_is_cut_and_no_word_broken_on_the_narrowest_screen(browser, site, picture, tmp_path):
    ingest_scene(site, [str(write_scene(tmp_path / "scene.tif"))], OpenOptions())
    cut = """const pen = document.createElement('canvas').getContext('2d');
        return [...document.querySelectorAll('.box input')].filter((it) => {
            const style = getComputedStyle(it), pads = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
            pen.font = style.font;
            return it.clientWidth - pads < pen.measureText('-179.890123').width;
        }).map((it) => it.id)"""
    breaks = "return [...document.querySelectorAll('.bars .name')].map((it) => it.querySelectorAll('wbr').length)"
    with live(create_app(site)) as address, screen(browser, 320):
        browser.get(address)
        browser.find_element(By.ID, "file").send_keys(str(picture))
        wait_for(browser, "!document.getElementById('result').hidden")
        keep_picture(browser, "narrow-image")
        assert sorted(browser.execute_script(breaks)) == [0, 0, 0, 1, 1]  # AnnualCrop and SeaLake are two words
        ask_about_first_scene(browser)
        wait_for(browser, "document.getElementById('facts').textContent.includes('Window')")
        keep_picture(browser, "narrow-scene")
        assert browser.execute_script(cut) == []
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 320


def test_every_control_has_a_name(browser, site):
    nameless = """return [...document.querySelectorAll('button, input, select, a, img[alt=""]')].filter((it) =>
        it.tagName !== 'IMG' && !(it.labels?.length || it.textContent.trim() || it.getAttribute('aria-label')))
        .map((it) => it.outerHTML)"""
    with live(create_app(site)) as address:
        browser.get(address)
        assert browser.execute_script(nameless) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser, site, scheme):
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    with live(create_app(site)) as address:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        try:
            browser.get(address)
            value = "getComputedStyle(document.documentElement).getPropertyValue"
            wait_for(browser, " && ".join(f"{value}('--{name}').trim()" for name in COLORS))
            keep_picture(browser, scheme)
            color = {name: browser.execute_script(f"return {value}('--{name}').trim()") for name in COLORS}
        finally:
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert [pair for pair in PAIRS if contrast(color[pair[0]], color[pair[1]]) < 4.5] == []
