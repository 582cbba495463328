"""The dashboard in a real browser: live without a reload, whole without JavaScript, by keyboard, on a phone, in the dark.

Screenshots for people to look at are written to the folder that TRAINWRIGHT_SCREENSHOTS names (default: build/screenshots).
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import uvicorn

import trainwright
from trainwright.serve.app import create_app
from trainwright.serve.settings import Settings

playwright_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.extra,
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium: scripts/install_browser.sh"),
]

REPOSITORY = Path(__file__).parents[3]
SCREENSHOTS = Path(os.environ.get("TRAINWRIGHT_SCREENSHOTS") or REPOSITORY / "build" / "screenshots")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
LONG_MS = 60_000


@pytest.fixture(scope="module")
def address(world, tmp_path_factory):
    """Where the service answers, over a copy of the world. (address, workspace)"""
    root = tmp_path_factory.mktemp("browsed") / "ws"
    shutil.copytree(world.root, root)
    app = create_app(root, Settings())
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as listener:
        patch.setenv("TRAINWRIGHT_KEYS", str(root.parent / "keys"))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", root
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser():
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, address):
    """A page of the dashboard; what goes wrong in it fails the test."""
    contexts, complaints = [], []

    def open_one(path, *, viewport=DESK, scheme="light", javascript=True):
        context = browser.new_context(viewport=viewport, color_scheme=scheme, java_script_enabled=javascript)
        context.set_default_timeout(LONG_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        answer = page.goto(address[0] + path)
        assert answer.status == 200, path
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not complaints


def shoot(page, name, *, whole=True):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(SCREENSHOTS / f"{name}.png"), full_page=whole)


def wait_until(page, expression):
    """Until an expression is true in the page. Playwright's own waiting needs `eval`, which our pages forbid."""
    for _ in range(LONG_MS // 200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(200)
    pytest.fail(f"never came true: {expression}")


def pages_of(world):
    return {
        "runs": "/runs",
        "run": f"/runs/{world.runs[0]}",
        "sweeps": "/sweeps",
        "sweep": f"/sweeps/{world.sweep}",
        "runs-compared": f"/runs/compare?run={world.runs[0]}&run={world.runs[1]}",
        "data": "/data",
        "dataset": f"/data/{world.dataset}",
        "traces": "/traces",
        "trace": f"/traces/{world.traces[0]}",
        "evaluations": "/evaluations",
        "evaluation": f"/evaluations/{world.evaluations[0]}",
        "evaluations-compared": f"/evaluations/compare?a={world.evaluations[0]}&b={world.evaluations[1]}",
        "models": "/models",
        "model": "/models/zoo",
        "decision": f"/decisions/{world.decision}",
        "lineage": "/lineage?ref=zoo@production",
        "jobs": "/jobs",
    }


@pytest.mark.parametrize("look", ["desk-light", "desk-dark", "phone-light", "phone-dark"])
def test_every_page_fits_its_screen_and_complains_of_nothing(open_page, world, look):
    device, scheme = look.split("-")
    for name, path in pages_of(world).items():
        page = open_page(path, viewport=DESK if device == "desk" else PHONE, scheme=scheme)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= page.viewport_size["width"], f"{name} is {width} wide"
        shoot(page, f"{name}-{look}")
        page.close()


def test_a_script_in_a_trace_does_not_run(open_page, world):
    for path in (f"/traces/{world.traces[0]}", "/traces", "/models/zoo", f"/evaluations/{world.evaluations[0]}"):
        page = open_page(path)
        assert page.title() != "taken"
        assert page.locator("main script, main img[onerror]").count() == 0


def test_a_run_is_followed_without_a_reload(open_page, address, tmp_path, world):
    corpus = world.root.parent / "first.txt"
    settings = (
        "--framework=reference", f"--corpus={corpus}", "name=live", "train.steps=100000", "train.batch_size=4",
        "train.max_seq_length=32", "train.validate_every=200", "train.watch_every=50", "train.checkpoint_every=1000",
        "train.sample_tokens=4", "model.hidden_size=16", "model.heads=2", "model.head_dim=8",
        "model.intermediate_size=32", "model.layers=1", "tokenizer.vocab_size=300", "data.split.block_lines=20",
        "compute.threads=1", "budgets.latency_p95_ms=null", f"--workspace={address[1]}",
    )  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(Path(trainwright.__file__).parents[1])}
    with (tmp_path / "log").open("wb") as log:
        training = subprocess.Popen(
            [sys.executable, "-m", "trainwright", "run", *settings], stdout=log, stderr=log, env=environment
        )
    try:
        page = open_page("/runs")
        while page.get_by_role("link", name="live", exact=True).count() == 0:
            assert training.poll() is None, (tmp_path / "log").read_text()
            page.wait_for_timeout(300)
            page.reload()
        page.get_by_role("link", name="live", exact=True).click()
        wait_until(page, "document.getElementById('live-state').textContent === 'live'")
        page.evaluate("window.stays = true")
        before = page.locator("#live progress").get_attribute("value")
        wait_until(page, f"document.querySelector('#live progress').value > {before} + 50")
        wait_until(page, "document.querySelectorAll('[data-chart=loss] polyline').length === 3")
        assert page.evaluate("window.stays"), "the page was loaded again"
        assert "left at this pace" in page.locator("#live").inner_text()
        shoot(page, "run-live")
        training.send_signal(signal.SIGINT)
        training.wait(timeout=60)
        wait_until(page, "document.getElementById('live-state').textContent === 'ended'")
    finally:
        training.kill()
        training.wait()


def test_without_javascript_curves_are_there_and_a_roll_back_goes_through(open_page, world):
    page = open_page(f"/runs/{world.runs[0]}", javascript=False)
    assert page.locator("[data-chart=loss] polyline").count() == 3
    page.locator("[data-chart=loss] summary").click()
    assert page.locator("[data-chart=loss] table").is_visible()
    page = open_page("/models/zoo", javascript=False)
    card = page.locator("details", has=page.locator("form[action='/models/zoo/production/rollback']"))
    card.locator("summary").click()
    card.locator("textarea").fill("it worked better before")
    shoot(page, "model-roll-back")
    card.get_by_role("button", name="Roll back production").click()
    page.wait_for_url("**/models/zoo")
    assert page.locator("td.why", has_text="it worked better before").count() == 1


def test_numbers_under_the_pointer_are_said(open_page, world):
    page = open_page(f"/runs/{world.runs[0]}")
    page.locator("[data-chart=loss] .area").hover()
    assert page.locator(".readout").inner_text().startswith("step ")
    shoot(page, "run-readout", whole=False)
    page.mouse.move(5, 5)
    assert page.locator(".readout").count() == 0


def test_the_keyboard_reaches_the_content_and_every_control(open_page, world):
    page = open_page("/runs")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "words"
    page.keyboard.type("first")
    page.keyboard.press("Enter")
    page.wait_for_url("**words=first**")
    assert page.get_by_role("link", name="first", exact=True).count() == 1


def test_two_runs_are_chosen_and_compared(open_page):
    page = open_page("/runs")
    for name in ("first", "second"):
        page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True)).get_by_role(
            "checkbox"
        ).check()
    page.get_by_role("button", name="Compare the chosen runs").click()
    page.wait_for_url("**/runs/compare**")
    assert "2 runs side by side" in page.locator("h1").inner_text()
