"""Walk docs/service.md as its reader does: write its files, type its commands, look where it shows a picture.

    python scripts/walk_service_page.py            at full size, in a folder of its own; writes docs/images/service-*.png

A picture in the page is what stands in Chromium at that point of the walk, or is passed over where there is no browser. A
command must end well, and say the lines that the page shows under it. `JOB` stands for the job that was started last.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "service.md"
ADDRESS = "http://127.0.0.1:8765"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
DESK = {"width": 1280, "height": 900}
LONG_MS = 120_000


@dataclass(frozen=True)
class Place:
    """A place of the page where something is done: a file to write, a command to type, or a picture to look at."""

    kind: str
    text: str
    shown: list[str] = field(default_factory=list)
    """Of a command, the lines shown under it; of a file, its lines."""


def read_places(page: Path) -> Iterator[Place]:
    """The places of the page, in order."""
    language, block = "", []
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            if language == "console":
                yield from _read_commands(block)
            elif language and block and block[0].startswith("# "):
                yield Place("file", block[0].removeprefix("# "), block[1:])
            language, block = ("", []) if language else (line.removeprefix("```"), [])
        elif language:
            block.append(line)
        elif match := re.match(r"!\[.*\]\(images/(.+)\.png\)", line):
            yield Place("picture", match.group(1))


def _read_commands(block: list[str]) -> Iterator[Place]:
    for number, line in enumerate(block):
        if line.startswith("$ "):
            rest = block[number + 1 :]
            end = next((i for i, other in enumerate(rest) if other.startswith("$ ")), len(rest))
            yield Place("command", line.removeprefix("$ "), rest[:end])


class Walk:
    """A walk through the page in `folder`, with a real service, shell, and browser (None: pictures are passed over).

    `instead` replaces texts of the page, so that a test need not train at full size.
    """

    def __init__(self, folder: Path, browser: Any = None, instead: Mapping[str, str] | None = None) -> None:
        self.folder, self.browser, self.instead = folder, browser, dict(instead or {})
        self.said: list[tuple[str, str]] = []
        """(command, what it said), in order."""
        self.pictures: dict[str, bytes] = {}
        self._around = ExitStack()
        self._environment = self._prepare_programs()

    def __enter__(self) -> "Walk":
        shell = subprocess.Popen(
            ["bash"], cwd=self.folder, env=self._environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._shell = shell
        self._around.callback(_end, shell)
        return self

    def __exit__(self, *_: object) -> None:
        self._around.close()

    def go(self) -> None:
        """From the first line to the last."""
        for place in read_places(PAGE):
            if place.kind == "file":
                (self.folder / place.text).write_text("\n".join(place.shown) + "\n", encoding="utf-8")
            elif place.kind == "picture":
                self._look(place.text)
            elif place.text == "trainwright serve":
                self._serve()
            else:
                self._type(place)

    def answer(self, part: str, number: int = -1) -> Any:
        """What a command with `part` in it said (of several: the last), as JSON."""
        return json.loads([said for command, said in self.said if part in command][number])

    def _prepare_programs(self) -> dict[str, str]:
        programs = self.folder / ".bin"
        programs.mkdir()
        for name, words in (("python", ""), ("trainwright", "-m trainwright")):
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n', encoding="utf-8")
            (programs / name).chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TRAINWRIGHT")}
        return kept | {
            "PATH": f"{programs}{os.pathsep}{kept['PATH']}",
            "COLUMNS": "120",
            "XDG_CONFIG_HOME": str(self.folder / ".config"),
            "no_proxy": "127.0.0.1",
        }

    def _serve(self) -> None:
        """`trainwright serve`, on a free port: what it prints must be an address, on one line."""
        words = ["trainwright", "serve", "--port=0"]
        log = self._around.enter_context((self.folder / "serve.log").open("wb"))
        service = subprocess.Popen(
            words, cwd=self.folder, env=self._environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
        self._around.callback(_end, service)
        assert service.stdout is not None
        self.address = service.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", self.address), self.address
        self.instead[ADDRESS] = self.address

    def _type(self, place: Place) -> None:
        command = place.text
        for written, other in self.instead.items():
            command = command.replace(written, other)
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{command}\nprintf '\\n<<%d>>\\n' $?\n")
        self._shell.stdin.flush()
        lines: list[str] = []
        for line in self._shell.stdout:
            if end := re.fullmatch(r"<<(\d+)>>\n", line):
                said = "".join(lines).strip()
                assert end.group(1) == "0", f"{command}\n{said}"
                break
            lines.append(line)
        else:
            raise AssertionError(f"the shell ended at {command}")
        for line in place.shown:
            assert line in said, f"the page shows a line that does not come: {line!r}\n{said}"
        self.said.append((place.text, said))
        if "/api/training/start" in command:
            self.instead["JOB"] = json.loads(said)["job_id"]

    # ── what is looked at ─────────────────────────────────────────────────────────────────────────────────────────────
    def _look(self, name: str) -> None:
        """Open what the picture shows, see that it is there, and keep the picture."""
        if self.browser is None:
            if name == "service-live":
                self._wait_for_step()
            return
        context = self.browser.new_context(viewport=DESK, color_scheme="light")
        context.set_default_timeout(LONG_MS)
        page = context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        {"service-live": self._look_live, "service-compare": self._look_compared, "service-model": self._look_model}[
            name
        ](page)
        self.pictures[name] = page.screenshot()
        context.close()
        assert not complaints, complaints

    def _look_live(self, page: Any) -> None:
        """A run that is on the first page goes on by itself, without the page being loaded again."""
        self._wait_for_step()
        page.goto(f"{self.address}/runs")
        while page.get_by_role("link", name="tales", exact=True).count() == 0:
            self._wait_for_step()
            page.reload()
        page.get_by_role("link", name="tales", exact=True).first.click()
        page.evaluate("window.stays = true")
        _wait_until(page, "document.getElementById('live-state').textContent === 'live'")
        before = page.evaluate("document.querySelector('#live progress').value")
        _wait_until(page, f"document.querySelector('#live progress').value > {before} + 2")
        assert page.evaluate("window.stays === true"), "the page was loaded again"

    def _look_compared(self, page: Any) -> None:
        page.goto(f"{self.address}/runs")
        for name in ("tales", "slow"):
            row = page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))
            row.get_by_role("checkbox").check()
        page.get_by_role("button", name="Compare the chosen runs").click()
        page.wait_for_url("**/runs/compare**")
        assert "learning_rate" in page.content()

    def _look_model(self, page: Any) -> None:
        page.goto(f"{self.address}/models/storyteller")
        for why in ("the first that tells stories", "it learnt faster", "it told the same story twice"):
            assert page.get_by_text(why).count() > 0, why

    def _wait_for_step(self) -> None:
        """Until the job that was started last trains."""
        while True:
            job = httpx.get(f"{self.address}/api/training/jobs/{self.instead['JOB']}", trust_env=False).json()
            assert job["state"] in ("queued", "running"), job
            if (job["progress"] or {}).get("step"):
                return
            time.sleep(0.2)


def _wait_until(page: Any, expression: str) -> None:
    """Until an expression is true in the page. Playwright's own waiting needs `eval`, which the pages forbid."""
    for _ in range(LONG_MS // 200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(200)
    raise AssertionError(f"never came true: {expression}")


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    process.communicate(timeout=60)


def open_browser(around: ExitStack) -> Any:
    """A headless Chromium for as long as `around` is open; None where there is none, or no playwright."""
    program = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if program is None:
        return None
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        return None
    playwright = around.enter_context(sync_playwright())
    browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
    around.callback(browser.close)
    return browser


def main() -> int:
    """Walk the page at full size, and write its pictures."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    with ExitStack() as around:
        browser = open_browser(around)
        if browser is None:
            sys.stderr.write(
                "no pictures without Chromium and playwright: scripts/install_browser.sh, pip install playwright\n"
            )
            return 1
        folder = Path(around.enter_context(tempfile.TemporaryDirectory()))
        walk = around.enter_context(Walk(folder, browser))
        walk.go()
        for name, picture in walk.pictures.items():
            (ROOT / "docs" / "images" / f"{name}.png").write_bytes(picture)
            sys.stdout.write(f"docs/images/{name}.png\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
