"""The page in headless Chromium."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.gateway.page_routes import security_policy
from serving.records.api_keys import ApiKeys
from serving.records.database import Database
from serving.records.tables import DecisionRow, FeedbackRow, RolloutEventRow
from tests.serving.client.client_stubs import Stub, grpc_stub
from tests.serving.gateway.live_gateway import LiveGateway, live_gateway

_BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
_DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (_BROWSER and _DRIVER), reason="needs chromium and chromedriver on the PATH"
    ),
]
_HTML = "<img src=x onerror=\"document.title='injected'\">"
_LABELS = ["bad", "good", _HTML]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gateway")
    assets = folder / "models" / "7" / "assets.extra"
    assets.mkdir(parents=True)
    (assets.parent / "saved_model.pb").touch()
    (assets / "labels.txt").write_text("\n".join(_LABELS) + "\n", "utf-8")
    card = {"encoder": "minilm", "metrics": {"val_accuracy": 0.8765}}
    (assets / "model_card.json").write_text(json.dumps(card), "utf-8")
    database = Database(f"sqlite:///{folder}/records.sqlite")
    now = time.time()
    with database.begin() as session:
        reason = f"drift of {_HTML} and 61 new examples"
        session.add(
            DecisionRow(
                created=now - 60, started=True, triggers=["drift"], reason=reason, details={}
            )
        )
        session.add(
            RolloutEventRow(
                model="default",
                created=now,
                action="promote",
                version=7,
                reason="It agrees with version 6 and is no slower.",
                by="watch",
                details={},
            )
        )
    database.close()
    return folder


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with grpc_stub() as stub:
        stub.outputs = lambda texts: {
            "scores": [[0.1, 0.7, 0.2] if "good" in text else [0.1, 0.2, 0.7] for text in texts],
            "label": [_LABELS[1] if "good" in text else _HTML for text in texts],
            "score": [0.7 for _ in texts],
        }
        yield stub


@pytest.fixture(scope="module")
def running(folder: Path, stub: Stub) -> Iterator[LiveGateway]:
    settings = (
        f"pusher.base_directory={folder}/models",
        f"pipeline.root={folder}/root",
        f"feedback.database_url=sqlite:///{folder}/records.sqlite",
    )
    with live_gateway(folder, stub.url, *settings) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(_BROWSER)
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(_DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


def wait(browser: Any, condition: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 30).until(lambda driver: driver.execute_script(f"return {condition}"))


def text_of(browser: Any, name: str) -> str:
    return browser.execute_script(f"return document.getElementById('{name}').textContent")


def complaints(browser: Any) -> list[str]:
    """Return the browser's messages about errors and the security policy."""
    return [entry["message"] for entry in browser.get_log("browser")]


def classify(browser: Any, text: str) -> None:
    from selenium.webdriver.common.by import By

    box = browser.find_element(By.ID, "text")
    box.clear()
    box.send_keys(text)
    browser.find_element(By.ID, "classify").click()
    wait(browser, "!document.getElementById('classify').disabled")


def take_picture(browser: Any, name: str) -> None:
    if folder := os.environ.get("BERT_TEST_PICTURES"):
        browser.save_screenshot(str(Path(folder, f"{name}.png")))


def test_page_classifies_a_text_and_sends_a_correction(
    browser: Any, running: LiveGateway, folder: Path
) -> None:
    from selenium.webdriver.common.by import By

    browser.get(running.url)
    wait(browser, "document.querySelectorAll('#model dd').length > 2")
    wait(browser, "document.querySelectorAll('#decisions li').length == 2")
    assert "0.8765" in text_of(browser, "model")
    assert "promote 7" in text_of(browser, "decisions")
    assert "drift of <img" in text_of(browser, "decisions")
    classify(browser, "a good film")
    assert text_of(browser, "answer") == "good"
    bars = [item.text for item in browser.find_elements(By.CSS_SELECTOR, "#bars li")]
    assert [bar.splitlines() for bar in bars] == [
        ["good", "70.0 %"],
        [_HTML, "20.0 %"],
        ["bad", "10.0 %"],
    ]
    browser.find_element(By.ID, "true-label").send_keys("bad")
    browser.find_element(By.CSS_SELECTOR, "#correct button[type=submit]").click()
    wait(browser, "document.getElementById('feedback-status').className == 'status good'")
    take_picture(browser, "page")
    database = Database(f"sqlite:///{folder}/records.sqlite")
    with database.read() as session:
        vote = session.query(FeedbackRow).one()
    database.close()
    assert (vote.text, vote.label, vote.predicted_label) == ("a good film", "bad", "good")
    assert complaints(browser) == []


def test_page_shows_foreign_content_as_text(browser: Any, running: LiveGateway) -> None:
    browser.get(running.url)
    wait(browser, "document.querySelectorAll('#decisions li').length == 2")
    classify(browser, _HTML)
    assert text_of(browser, "answer") == _HTML
    assert browser.execute_script("return document.images.length") == 0
    assert browser.title == "Text classifier"


def test_security_policy_blocks_foreign_scripts(browser: Any, running: LiveGateway) -> None:
    browser.get(running.url)
    browser.execute_script(
        "const script = document.createElement('script');"
        "script.textContent = \"document.title = 'injected'\";"
        "document.body.append(script);"
    )
    assert browser.title == "Text classifier"
    assert any("Content Security Policy" in complaint for complaint in complaints(browser))


def test_page_fits_a_phone_and_dark_mode(browser: Any, running: LiveGateway) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True},
    )
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": dark})
    try:
        browser.get(running.url)
        classify(browser, "a good film")
        width = browser.execute_script("return document.documentElement.scrollWidth")
        assert width <= 390
        take_picture(browser, "telephone")
        ink, page = (
            browser.execute_script(f"return getComputedStyle(document.body).{name}")
            for name in ("color", "backgroundColor")
        )
        assert ink == "rgb(232, 235, 239)"
        assert page == "rgb(15, 18, 22)"
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_every_control_has_an_accessible_name(browser: Any, running: LiveGateway) -> None:
    from selenium.webdriver.common.by import By

    browser.get(running.url)
    classify(browser, "a good film")
    for control in browser.find_elements(By.CSS_SELECTOR, "input, textarea, button, a"):
        assert control.accessible_name, control.get_attribute("outerHTML")
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
    assert len(browser.find_elements(By.TAG_NAME, "h1")) == 1


def test_page_asks_for_an_api_key_and_keeps_it(
    browser: Any, folder: Path, stub: Stub, tmp_path: Path
) -> None:
    from selenium.webdriver.common.by import By

    url = f"sqlite:///{tmp_path}/records.sqlite"
    database = Database(url)
    _, secret = ApiKeys(database).create("page", ["predict", "feedback"])
    database.close()
    settings = (f"pusher.base_directory={folder}/models", f"feedback.database_url={url}")
    with live_gateway(tmp_path, stub.url, *settings) as running:
        browser.get(running.url)
        classify(browser, "a good film")
        assert "API key is required" in text_of(browser, "try-status")
        browser.find_element(By.ID, "key").send_keys(secret + "\n")
        wait(browser, "document.querySelectorAll('#model dd').length > 2")
        classify(browser, "a good film")
        assert text_of(browser, "answer") == "good"
        browser.refresh()
        stored = browser.execute_script("return sessionStorage.getItem('bert-gateway-key')")
        assert stored == secret


def test_security_policy_lists_each_script_and_style() -> None:
    policy = security_policy("<style>a{}</style><script>one()</script><script>two()</script>")
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert parts["default-src"] == "'none'"
    assert len(parts["script-src"].split()) == 2
    assert "unsafe" not in policy
    assert "script-src 'none'" in security_policy("<style>a{}</style>")
