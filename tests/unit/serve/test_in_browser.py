"""The dashboard in a real browser: live without a reload, whole without JavaScript, by keyboard, on a phone, in the dark.

Every page is looked at in both themes, wide and narrow, and axe looks for what shuts people out.

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

import httpx
import pytest
import uvicorn

import trainwright
from trainwright.core.manifest import LimitsSection
from trainwright.pipeline.accounts import read_account, write_account, write_project_limits
from trainwright.pipeline.alerts import open_book
from trainwright.serve.app import create_app
from trainwright.serve.settings import Settings
from trainwright.store.workspace import open_workspace
from trainwright.watch.alert_book import DEAD_AFTER, Subject
from trainwright.watch.alert_rules import AlertSettings
from trainwright.watch.alerts import Finding

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
PHONE = {"width": 375, "height": 812}
DESK = {"width": 1280, "height": 900}
LONG_MS = 60_000
SCRIPT = "<script>document.title='taken'</script>"
NOON = "2026-01-01T12:00:00.000+00:00"


def spend_and_warn(root, world):
    """A price file, budgets at every mark, alerts of every severity, and a channel that is dead."""
    (root / "prices.yaml").write_text("currency: EUR\nregion: eu-central\ndevices: {cpu: 0.04}\n")
    file = {"channels": {"ops": {"kind": "file", "path": "alerts.log", "at_least": "high"}}}
    (root / "alerts.yaml").write_text(str(file))
    with open_workspace(root) as workspace:
        for run in world.runs:
            changes = {
                "project": "animals",
                "tags": ("nightly", "small"),
                "limits": LimitsSection(hours=0.01, energy_kwh=1),
            }
            write_account(run, read_account(run, workspace).model_copy(update=changes), workspace)
        write_project_limits("animals", LimitsSection(tokens=3000, money=1), workspace)
        book, settings = open_book(workspace), AlertSettings.model_validate(file | {"delivery": {"cooldown_s": 0}})
        for step, severity in enumerate(("low", "medium", "high", "critical")):
            finding = Finding(
                "loss-explosion", severity, f"the loss is {step} {SCRIPT}", step=step, value=9.5, limit=3.0
            )
            book.raise_alert(finding, Subject(world.runs[0], "first"), NOON, settings)
        for _ in range(DEAD_AFTER):
            book.note_failed(*book.list_items()[0], NOON, "no space is left")


@pytest.fixture(scope="module")
def address(world, tmp_path_factory):
    """Where the service answers, over a copy of the world. (address, workspace)"""
    root = tmp_path_factory.mktemp("browsed") / "ws"
    shutil.copytree(world.root, root)
    spend_and_warn(root, world)
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


def settle(page):
    """Until every chart is drawn, those further down too."""
    for number in range(page.locator("figure[data-series]").count()):
        page.locator("figure[data-series]").nth(number).scroll_into_view_if_needed()
        page.wait_for_timeout(50)
    wait_until(page, "document.querySelectorAll('figure[data-series] .plot:not(.drawn)').length === 0")
    page.evaluate("scrollTo(0, 0)")


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
        "costs": "/costs",
        "costs-by-tag": "/costs?by=tag",
        "run-costs": f"/costs/{world.runs[0]}",
        "alerts": "/alerts",
    }


@pytest.mark.parametrize("look", ["desk-light", "desk-dark", "phone-light", "phone-dark"])
def test_every_page_fits_its_screen_and_complains_of_nothing(open_page, world, look):
    device, scheme = look.split("-")
    for name, path in pages_of(world).items():
        page = open_page(path, viewport=DESK if device == "desk" else PHONE, scheme=scheme)
        settle(page)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= page.viewport_size["width"], f"{name} is {width} wide"
        shoot(page, f"{name}-{look}")
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_that_shuts_people_out(open_page, world, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python").Axe()
    found = []
    for name, path in pages_of(world).items():
        page = open_page(path, scheme=scheme)
        settle(page)
        for violation in axe.run(page).response["violations"]:
            places = [node["target"][0] for node in violation["nodes"]][:3]
            found.append(f"{name}: {violation['id']} ({violation['help']}) at {places}")
        page.close()
    assert not found, "\n".join(found)


def test_a_script_in_what_others_wrote_does_not_run(open_page, world):
    hostile = ("/traces", "/models/zoo", f"/evaluations/{world.evaluations[0]}", "/alerts", "/runs?words=" + SCRIPT)
    for path in (f"/traces/{world.traces[0]}", *hostile):
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
        wait_until(page, "document.querySelector('[data-chart=loss] .drawn') !== null")
        page.evaluate("window.canvas = document.querySelector('[data-chart=loss] .canvas')")
        num_points = page.evaluate("canvas.data[0].x.at(-1)")
        wait_until(page, f"canvas.data.length === 3 && canvas.data[0].x.at(-1) > {num_points} + 50")
        assert page.evaluate("canvas === document.querySelector('[data-chart=loss] .canvas')"), "it was made anew"
        page.evaluate("Plotly.relayout(canvas, {'xaxis.range': [0, 30]})")
        before = page.locator("#live progress").get_attribute("value")
        wait_until(page, "canvas.data[0].x.length === 31")  # of a step each, and the one beside the last
        wait_until(page, f"document.querySelector('#live progress').value > {before} + 50")
        assert page.evaluate("canvas.layout.xaxis.range[1]") == 30, "what was zoomed into is kept"
        assert page.evaluate("canvas.data[0].x.length") == 31
        assert page.evaluate("window.stays"), "the page was loaded again"
        assert "left at this pace" in page.locator("#live").inner_text()
        shoot(page, "run-live")
        training.send_signal(signal.SIGINT)
        training.wait(timeout=60)
        wait_until(page, "document.getElementById('live-state').textContent === 'ended'")
    finally:
        training.kill()
        training.wait()


def test_a_job_is_followed_until_somebody_stops_it_and_then_it_can_be_resumed(open_page, address):
    manifest = {"data": {"corpus": "builtin:stories"}, "name": "waiting"}
    answer = httpx.post(f"{address[0]}/api/training/start", json={"manifest": manifest})
    job = answer.json()["job_id"]
    page = open_page(f"/jobs/{job}")
    wait_until(page, "document.getElementById('live-state').textContent === 'live'")
    assert httpx.post(f"{address[0]}/api/training/stop/{job}").status_code == 202
    wait_until(page, "document.querySelectorAll('form[action$=resume]').length === 1")
    assert page.locator(".pill.cancelled").count() == 1
    shoot(page, "job-cancelled")


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


def test_without_javascript_an_alert_is_acknowledged_with_a_reason(open_page):
    page = open_page("/alerts", javascript=False)
    alert = page.locator("ol.alerts > li", has_text="the loss is 1")
    alert.locator("summary").click()
    alert.locator("textarea").fill("a hole in the data")
    shoot(page, "alert-acknowledged")
    alert.get_by_role("button", name="Acknowledge").click()
    page.wait_for_url("**/alerts?done=*")
    assert page.get_by_role("status").inner_text().startswith("Acknowledged: the loss is 1 <script>")
    assert page.locator("ol.alerts > li", has_text="the loss is 1").count() == 0


def test_numbers_under_the_pointer_are_said(open_page, world):
    page = open_page(f"/runs/{world.runs[0]}")
    settle(page)
    page.locator("[data-chart=loss] .canvas").hover()
    wait_until(page, "document.querySelector('[data-chart=loss] .hoverlayer').textContent.includes('validation')")
    assert "step " in page.locator("[data-chart=loss] .hoverlayer").text_content()
    shoot(page, "run-readout", whole=False)


def test_what_is_zoomed_into_in_one_chart_is_zoomed_into_in_all(open_page, world):
    page = open_page(f"/runs/{world.runs[0]}")
    settle(page)
    ends = "[...document.querySelectorAll('.charts .canvas')].map((one) => one.layout.xaxis.range[1])"
    before = page.evaluate(ends)
    box = page.locator("[data-chart=loss] .canvas").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.2 * box["width"], middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], middle, steps=5)
    page.mouse.up()
    wait_until(page, f"new Set({ends}).size === 1 && {ends}[0] < {min(before)}")
    shoot(page, "run-zoomed", whole=False)
    page.locator("[data-chart=learning_rate]").get_by_role("button", name="Whole run").click()
    wait_until(page, f"Math.min(...{ends}) >= {min(before)} - 1")
    assert page.locator(".whole:visible").count() == 0


def test_a_chart_is_set_to_logarithms_and_back(open_page, world):
    page = open_page(f"/runs/{world.runs[0]}")
    settle(page)
    button = page.locator("[data-chart=loss]").get_by_role("button", name="logarithmic")
    for kind, pressed in (("log", "true"), ("linear", "false")):
        button.click()
        wait_until(page, f"document.querySelector('[data-chart=loss] .canvas').layout.yaxis.type === '{kind}'")
        assert button.get_attribute("aria-pressed") == pressed


def test_names_in_charts_are_text_whatever_they_are(open_page, address, browser, world):
    hostile = "<b>bold</b><img src=x onerror=document.title='taken'>"
    escaped = hostile.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    page = browser.new_page(viewport=DESK)

    def rename(route):
        text = route.fetch().text()
        route.fulfill(body=text.replace("&#34;validation&#34;", f"&#34;{escaped}&#34;"), content_type="text/html")

    page.route("**/runs/*", rename)
    page.goto(f"{address[0]}/runs/{world.runs[0]}")
    settle(page)
    page.locator("[data-chart=loss] .canvas").hover()
    wait_until(page, "document.querySelector('.hoverlayer').textContent.includes('<b>bold</b><img')")
    assert page.title() != "taken"
    assert page.locator("main img").count() == 0
    page.close()


def test_where_the_library_cannot_be_had_the_servers_charts_stay(browser, address, world):
    page = browser.new_page(viewport=DESK)
    page.route("**/static/plotly-*", lambda route: route.abort())
    warnings = []
    page.on("console", lambda message: warnings.append(message.text))
    page.goto(f"{address[0]}/runs/{world.runs[0]}")
    for _ in range(LONG_MS // 200):
        if any("cannot be had" in warning for warning in warnings):
            break
        page.wait_for_timeout(200)
    assert any("cannot be had" in warning for warning in warnings)
    assert page.locator("[data-chart=loss] svg.curves").is_visible()
    assert page.locator(".drawn").count() == 0
    page.close()


def test_a_page_without_charts_loads_no_library(browser, address):
    page = browser.new_page(viewport=DESK)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address[0]}/runs", wait_until="networkidle")
    assert not [url for url in asked if "plotly" in url or "charts" in url]
    assert all(url.startswith((address[0], "data:")) for url in asked)
    page.close()


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
