"""How fast traces are imported and exported, as ratios to the machine's own limits, measured in one go.

    python bench/traces_speed.py                 # 10,000 and 100,000 traces
    python bench/traces_speed.py --counts 10000 1000000

The limits are: a row at a time into a bare SQLite table of the same shape in one transaction, and copying a file of the
same bytes. Every measurement is a process of its own, so that its peak memory is its own. Targets on two cores:
10,000 traces a second imported through the command line, 50,000 exported, 0.3 s for a batch of 1,000, 10 ms to export
100, and memory that does not grow with their number. Processor seconds stand beside the clock's: on a machine that does
other things too, they are what the work itself took.
"""

import argparse
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def write_traces(path: Path, count: int) -> None:
    with path.open("w") as file:
        for number in range(count):
            steps = [
                {"i": index, "type": "calculation", "content": f"Step {index}: {number} + {index} = {number + index}"}
                for index in range(4)
            ]
            document = {
                "trace_version": "1.0",
                "prompt": f"A shop sells {number} apples a day. How many are sold in four days, and how do you know?",
                "final_answer": str(4 * number),
                "steps": steps,
                "meta": {"category": "arithmetic", "index": number},
            }
            file.write(json.dumps(document) + "\n")


def child(*arguments: str) -> dict[str, float]:
    """Run one measurement of this script in a process of its own."""
    said = subprocess.run(
        [sys.executable, __file__, "--measure", *arguments], capture_output=True, check=True, env=os.environ
    )
    measured: dict[str, float] = json.loads(said.stdout)
    return measured


class Clock:
    """The moment at which a measurement begins, by both clocks."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()


def measure(what: str, folder: Path, count: int) -> dict[str, float]:
    begun = Clock()
    if what == "raw insert":
        insert_raw(folder)
    elif what == "raw copy":
        shutil.copyfile(folder / "out.trace", folder / "copy")
    elif what == "batch":
        begun = insert_batch(folder)
    elif what == "small export":
        begun = export(folder, "small@v1", "trace")
    elif what.startswith("export "):
        begun = export(folder, "bench@v1", what.removeprefix("export "))
    elif what == "build":
        begun = build(folder, count)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "elapsed_s": time.perf_counter() - begun.wall,
        "cpu_s": time.process_time() - begun.cpu,
        "peak_mib": peak_mib,
    }


def insert_raw(folder: Path) -> None:
    connection = sqlite3.connect(folder / "raw.sqlite")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE traces (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, document TEXT)")
    with connection, (folder / "traces.jsonl").open() as file:
        rows = ((f"{number:064x}", line) for number, line in enumerate(file))
        connection.executemany("INSERT INTO traces (id, document) VALUES (?, ?)", rows)
    connection.close()


def insert_batch(folder: Path) -> Clock:
    from trainwright.core.traces import parse_trace
    from trainwright.store.sql_traces import SqlTraces
    from trainwright.store.traces import import_batch

    with (folder / "traces.jsonl").open() as file:
        documents = [
            json.loads(line) | {"prompt": "batch " + str(number)}
            for number, line in zip(range(1000), file, strict=False)
        ]
    store = SqlTraces.open_file(folder / "batch.sqlite")
    begun = Clock()
    import_batch(store, [parse_trace(document) for document in documents])
    return begun


def build(folder: Path, count: int) -> Clock:
    from trainwright.data.selection import Selection
    from trainwright.pipeline.datasets import build_version
    from trainwright.store.workspace import open_workspace

    class Silent:
        def show_progress(self, what: str, done: int, total: int | None) -> None: ...

    with open_workspace(folder / "workspace") as workspace:
        build_version("small@v1", Selection("random", limit=100), workspace, screen=Silent())  # type: ignore[arg-type]
        begun = Clock()
        build_version("bench@v1", Selection("random", limit=count), workspace, screen=Silent())  # type: ignore[arg-type]
    return begun


def export(folder: Path, key: str, form: str) -> Clock:
    from trainwright.pipeline.datasets import export_version, find_dataset
    from trainwright.store.workspace import open_workspace

    with open_workspace(folder / "workspace") as workspace:
        dataset = find_dataset(key, workspace)
        # Loading pyarrow is not exporting.
        export_version(find_dataset("small@v1", workspace), form, folder / "warm", workspace, overwrite=True)
        begun = Clock()
        export_version(dataset, form, folder / f"out.{form}", workspace, overwrite=True)
    return begun


def import_by_command(folder: Path) -> dict[str, float]:
    words = [sys.executable, "-m", "trainwright", "traces", "import", str(folder / "traces.jsonl"), "--json"]
    begun = time.perf_counter()
    process = subprocess.Popen(
        [*words, "--workspace", str(folder / "workspace")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    elapsed_s = time.perf_counter() - begun
    assert status == 0
    return {"elapsed_s": elapsed_s, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mib": usage.ru_maxrss / 1024}


def run(count: int) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory(prefix="trainwright-bench-") as name:
        folder = Path(name)
        write_traces(folder / "traces.jsonl", count)
        results = {"import by command": import_by_command(folder)}
        for what in ("raw insert", "batch", "build", "export trace", "raw copy", "small export"):
            results[what] = child(what, str(folder), str(count))
        for form in ("messages", "tunix_sft", "training_example", "csv", "parquet"):
            results[f"export {form}"] = child(f"export {form}", str(folder), str(count))
    return results


def report(count: int, results: dict[str, dict[str, float]]) -> None:
    print(f"\n{count:,} traces")
    limits = {"import by command": "raw insert", "export trace": "raw copy"}
    for what, measured in results.items():
        number = {"batch": 1000, "small export": 100}.get(what, count)
        line = f"  {what:24} {measured['elapsed_s']:9.3f} s {number / measured['elapsed_s']:12,.0f}/s"
        line += f"  (cpu {measured['cpu_s']:7.3f} s {number / measured['cpu_s']:12,.0f}/s)"
        line += f"  peak {measured['peak_mib']:4.0f} MiB"
        if what in limits:
            wall, cpu = (measured[key] / results[limits[what]][key] for key in ("elapsed_s", "cpu_s"))
            line += f"  {wall:.1f} (cpu {cpu:.1f}) times the {limits[what]}"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--measure", nargs=3, metavar=("WHAT", "FOLDER", "COUNT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        what, folder, count = arguments.measure
        print(json.dumps(measure(what, Path(folder), int(count))))
        return
    all_results = {count: run(count) for count in arguments.counts}
    for count, results in all_results.items():
        report(count, results)
    first, last = min(all_results), max(all_results)
    if first != last:
        print(f"\npeak memory at {last:,} traces, as a share of that at {first:,}")
        for what in all_results[last]:
            share = all_results[last][what]["peak_mib"] / all_results[first][what]["peak_mib"]
            print(f"  {what:24} {share:.2f}")


if __name__ == "__main__":
    main()
