"""Train examples/parity.yaml on every framework and write docs/parity.md, docs/parity.json and docs/images/parity.svg.

    python scripts/write_parity.py                                       every framework that this Python has
    python scripts/write_parity.py --python tunix=/path/to/bin/python    tunix by another Python, the rest by this one
    python scripts/write_parity.py --render                              the page and the picture again, from the figures

Each framework is one `trainwright run` in a process of its own, all in one workspace. What did not run is "not measured",
with the probe's reason. The page says nothing that is not in docs/parity.json.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
EXAMPLE = ROOT / "examples" / "parity.yaml"

FRAMEWORKS = ("reference", "torch", "tinygrad", "tunix")
"""The first one is what the others are held against."""

LOSS_TOLERANCE = 1e-3
WEIGHT_TOLERANCE = 1e-3
PROMPT, NUM_WRITTEN = "Once upon a time", 24

GENERATED = "<!-- Written by scripts/write_parity.py from parity.json. Run it again. -->"


# ── measuring ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def measure(pythons: Mapping[str, str], workspace: Path) -> dict[str, Any]:
    """Everything that the page says."""
    runs: dict[str, Any] = {}
    weights: dict[str, dict[str, NDArray[np.float32]]] = {}
    for framework in FRAMEWORKS:
        python = pythons.get(framework, sys.executable)
        probed = _probe(python, framework)
        if not probed["works"]:
            reason = f"{probed['problem']} {probed['remedy']}".strip()
            runs[framework] = {"measured": False, "why_not": reason}
            print(f"{framework}: not measured: {reason}", file=sys.stderr)
            continue
        print(f"{framework} {probed['version']} on {probed['device_name']} …", file=sys.stderr)
        runs[framework], weights[framework] = _train(python, framework, workspace)
        runs[framework] |= {"version": probed["version"], "device": probed["device_name"]}
    _compare(runs, weights)
    from trainwright.watch.environment import describe_machine

    return {
        "example": EXAMPLE.relative_to(ROOT).as_posix(),
        "machine": describe_machine(),
        "python": platform.python_version(),
        "tolerances": {"loss": LOSS_TOLERANCE, "weight": WEIGHT_TOLERANCE},
        "prompt": PROMPT,
        "num_written": NUM_WRITTEN,
        "frameworks": runs,
    }


def _train(python: str, framework: str, workspace: Path) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    from safetensors.numpy import load_file

    ended = _call(python, ["run", str(EXAMPLE), f"compute.framework={framework}"], workspace)
    folder = Path(ended["run_dir"])
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [event for event in map(json.loads, lines) if event["kind"] == "step"]
    plan = json.loads((folder / "plan.json").read_bytes())
    if plan["compute"]["framework"] != framework:
        raise SystemExit(f"{framework} was asked for, and the plan says {plan['compute']['framework']}")
    (last,) = sorted(folder.glob("checkpoints/step-*"))[-1:]
    words = ["generate", f"{ended['run_id']}@{len(steps)}", PROMPT, f"--max-tokens={NUM_WRITTEN}", "--temperature=0"]
    written = _call(python, words, workspace)
    laps = [event["timing"]["step_s"] for event in steps]
    return {
        "measured": True,
        "num_threads": plan["compute"]["num_threads"],
        "losses": [event["loss"] for event in steps],
        "learning_rates": [event["learning_rate"] for event in steps],
        "num_tokens": [event["num_tokens"] for event in steps],
        "first_step_s": laps[0],
        "step_s": median(laps[1:]),
        "text": written["text"],
    }, load_file(last / "model.safetensors")


def _compare(runs: dict[str, Any], weights: Mapping[str, Mapping[str, NDArray[np.float32]]]) -> None:
    """Hold every framework that was measured against the reference."""
    reference = FRAMEWORKS[0]
    expected, expected_weights = runs[reference], weights[reference]
    for framework, found_weights in weights.items():
        found = runs[framework]
        differences = np.abs(np.subtract(found["losses"], expected["losses"]))
        tensors = {name: float(np.abs(array - expected_weights[name]).max()) for name, array in found_weights.items()}
        worst = max(tensors, key=lambda name: tensors[name])
        found |= {
            "max_loss_difference": float(differences.max()),
            "max_loss_difference_step": int(differences.argmax()) + 1,
            "max_weight_difference": tensors[worst],
            "max_weight_difference_in": worst,
            "same_learning_rates": found["learning_rates"] == expected["learning_rates"],
            "same_text": found["text"] == expected["text"],
        }


def _probe(python: str, framework: str) -> dict[str, Any]:
    if framework not in _list_known(python):
        return {"works": False, "problem": f"This version has no backend called {framework}.", "remedy": ""}
    said = _run([python, "-m", "trainwright.backends.probing", framework, "auto"])
    document: dict[str, Any] = json.loads(said.splitlines()[-1])
    return document


def _list_known(python: str) -> list[str]:
    code = "from trainwright.backends.catalogue import CATALOGUE; print(*CATALOGUE)"
    return _run([python, "-c", code]).split()


def _call(python: str, words: Sequence[str], workspace: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        _run([python, "-m", "trainwright", *words, f"--workspace={workspace}", "--json"])
    )
    return document


def _run(words: Sequence[str]) -> str:
    sources = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    ended = subprocess.run(
        words, stdout=subprocess.PIPE, text=True, check=False, env={**os.environ, "PYTHONPATH": sources}
    )
    if ended.returncode != 0:
        raise SystemExit(f"{' '.join(words)} ended with exit code {ended.returncode}\n{ended.stdout}")
    return ended.stdout


# ── the page ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def render_page(figures: Mapping[str, Any]) -> str:
    """docs/parity.md."""
    runs, tolerances, example = figures["frameworks"], figures["tolerances"], figures["example"]
    measured = {name: run for name, run in runs.items() if run["measured"]}
    num_steps = len(measured[FRAMEWORKS[0]]["losses"])
    commands = "\n".join(f"trainwright run {example} compute.framework={name}" for name in runs)
    rows = "\n".join(_render_row(name, run) for name, run in runs.items())
    return f"""{GENERATED}

# One plan, every framework

[{example}](../{example}) is a small model, trained for {num_steps} steps in float32 with AdamW. The same first weights (made
by numpy from the plan's seed), the same batches and the same learning rates go into every framework:

```sh
{commands}
```

Each is held against `{FRAMEWORKS[0]}`, plain numpy with gradients written by hand. Losses have to agree within
{tolerances["loss"]:g} nats per token at every step, and every weight within {tolerances["weight"]:g} at the end.

![The losses of all frameworks, and how far each lies from the reference](images/parity.svg)

| framework | largest difference in loss | largest difference in a weight | the same text | first step | a step |
| --- | --- | --- | --- | --- | --- |
{rows}

Measured with Python {figures["python"]} on {figures["machine"]}. The time of a step is the median of all but the
first, which compiles where a framework does. So small a model says nothing about which framework is fast:
`compute.framework: auto` measures the plan that is really to be trained.

The text is made of the {figures["num_written"]} likeliest tokens after “{figures["prompt"]}”:

{_render_texts(measured)}

What is behind the figures, the losses of all steps among it, is in [parity.json](parity.json). Every backend that is installed
is held to the same by `tests/contract/test_parity.py`: equal first weights, batches and rates; losses, weights and text.
"""


def _render_row(name: str, run: Mapping[str, Any]) -> str:
    if not run["measured"]:
        return f"| {name} | not measured: {_escape(run['why_not'])} | | | | |"
    threads = "1 thread" if run["num_threads"] == 1 else f"{run['num_threads']} threads"
    title = f"{name} {run['version']}, {threads}"
    times = f"{_seconds(run['first_step_s'])} | {_seconds(run['step_s'])}"
    if name == FRAMEWORKS[0]:
        return f"| {title} | | | | {times} |"
    loss = f"{run['max_loss_difference']:.1e} (step {run['max_loss_difference_step']})"
    return (
        f"| {title} | {loss} | {run['max_weight_difference']:.1e} | {'yes' if run['same_text'] else 'no'} | {times} |"
    )


def _render_texts(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Each different text once, with those that wrote it."""
    writers: dict[str, list[str]] = {}
    for name, run in measured.items():
        writers.setdefault(run["text"], []).append(name)
    return "\n".join(f"- {', '.join(names)}: “{_escape(' '.join(text.split()))}”" for text, names in writers.items())


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def draw(figures: Mapping[str, Any]) -> bytes:
    """docs/images/parity.svg: the curves over each other, and below how far each lies from the reference."""
    import io

    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    from trainwright.watch.plots import PLAIN, add_legend, dress, new_figure

    measured = {name: run for name, run in figures["frameworks"].items() if run["measured"]}
    colours = dict(zip(FRAMEWORKS, ("#9aa5b1", "#d9480f", "#1864ab", "#2b8a3e"), strict=True))
    figure = new_figure(8.0, 5.4, PLAIN)
    above, below = figure.subplots(2, 1, height_ratios=[3, 2])
    dress(above, PLAIN, "loss, nats per token")
    dress(below, PLAIN, "difference from the reference")
    for place, (name, run) in enumerate(measured.items()):
        steps = range(1, len(run["losses"]) + 1)
        # Each over the one before, and narrower: where they agree, all of them are seen.
        style: dict[str, Any] = {"color": colours[name], "linewidth": 7.0 - 1.9 * place}
        above.plot(steps, run["losses"], label=name, **style)
        if place:
            away = np.abs(np.subtract(run["losses"], measured[FRAMEWORKS[0]]["losses"]))
            below.plot(steps, np.maximum(away, 1e-9), color=colours[name], linewidth=1.4)
    tolerance = figures["tolerances"]["loss"]
    below.axhline(tolerance, color=PLAIN.bad, linewidth=1.0, linestyle="--")
    below.annotate("tolerance", (1, tolerance), color=PLAIN.ink, fontsize=8.5, va="bottom")
    below.set_yscale("log")
    add_legend(above, PLAIN)
    written = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "parity"}):
        FigureCanvasSVG(figure).print_svg(written, metadata={"Date": None})
    return written.getvalue()


def main() -> int:
    """Measure and write, as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH", help="who runs a framework")
    parser.add_argument("--render", action="store_true", help="measure nothing: page and picture from the figures")
    parser.add_argument("--workspace", type=Path, help="keep the runs here (default: a temporary folder)")
    given = parser.parse_args()
    pythons = dict(pair.split("=", 1) for pair in given.python)
    if unknown := pythons.keys() - set(FRAMEWORKS):
        parser.error(f"no framework is called {', '.join(sorted(unknown))}")
    path = DOCS / "parity.json"
    if given.render:
        figures = json.loads(path.read_bytes())
    else:
        with tempfile.TemporaryDirectory(prefix="parity-") as folder:
            figures = measure(pythons, given.workspace or Path(folder))
        path.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (DOCS / "parity.md").write_text(render_page(figures), encoding="utf-8")
    (DOCS / "images" / "parity.svg").write_bytes(draw(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
