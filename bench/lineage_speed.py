"""How fast it is found which dataset versions hold a trace: the index beside reading the versions' lists, in one go.

    python bench/lineage_speed.py                       # a million records in ten versions
    python bench/lineage_speed.py --records 100000

The ids are digests of numbers. Scanning is what `data forget` does, which relies on no index: every version's list of ids is
searched for the id, its bytes mapped into memory and already verified. Both answers are compared.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from trainwright.core.hashing import digest_bytes
from trainwright.core.records import DatasetVersion
from trainwright.pipeline.datasets import holds, iter_versions
from trainwright.pipeline.lineage import find_lineage, find_versions_holding
from trainwright.store.members import take_in_version
from trainwright.store.workspace import Workspace, open_workspace


def build_versions(workspace: Workspace, num_records: int, num_versions: int) -> tuple[float, float]:
    """Put versions on record; seconds to write their lists, and to take them into the index."""
    listing_s = indexing_s = 0.0
    per_version = num_records // num_versions
    for number in range(num_versions):
        begun = time.perf_counter()
        first = number * per_version
        ids = (digest_bytes(b"%d" % one) + "\n" for one in range(first, first + per_version))
        records = workspace.objects.put("".join(ids).encode("ascii"))
        dataset = DatasetVersion(
            source="bench", files=(), recipe={}, splits={}, name="bench", version=f"v{number}", records=records
        )
        workspace.ledger.put(dataset)
        listing_s += time.perf_counter() - begun
        begun = time.perf_counter()
        take_in_version(workspace.members, dataset, workspace.objects)
        indexing_s += time.perf_counter() - begun
    return listing_s, indexing_s


def measure(ask: Callable[[str], list[str]], ids: list[str]) -> tuple[float, list[list[str]]]:
    """Median seconds for one id, and the answers."""
    taken, answers = [], []
    for trace_id in ids:
        begun = time.perf_counter()
        answers.append(ask(trace_id))
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken), answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--versions", type=int, default=10)
    parser.add_argument("--asked", type=int, default=50)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="trainwright-bench-") as folder,
        open_workspace(Path(folder)) as workspace,
    ):
        listing_s, indexing_s = build_versions(workspace, arguments.records, arguments.versions)
        step = max(1, arguments.records // arguments.asked)
        ids = [digest_bytes(b"%d" % number) for number in range(0, arguments.records, step)]
        ids += [digest_bytes(b"held by none %d" % number) for number in range(5)]

        def scan(trace_id: str) -> list[str]:
            return [one.id for one in iter_versions(workspace) if holds(one, trace_id, workspace)]

        scanned_s, expected = measure(scan, ids)
        indexed_s, found = measure(workspace.members.find, ids)
        asked_s, also_found = measure(lambda trace_id: find_versions_holding(trace_id, workspace), ids)
        lineage_s, _ = measure(lambda trace_id: list(find_lineage(trace_id, workspace).nodes), ids[:-5])
        assert expected == found == also_found
        size_mib = (Path(folder) / "members.sqlite").stat().st_size / 2**20
    print(f"{arguments.records:,} records in {arguments.versions:,} versions; index of {size_mib:.0f} MiB")
    print(f"  index filled          {indexing_s:9.3f} s  {arguments.records / indexing_s:12,.0f}/s")
    print(f"  ids hashed and listed {listing_s:9.3f} s")
    print(f"  scanning              {scanned_s * 1000:9.3f} ms an id")
    print(f"  index alone           {indexed_s * 1000:9.3f} ms an id  {scanned_s / indexed_s:8.1f} times as fast")
    print(f"  with looking for new  {asked_s * 1000:9.3f} ms an id  {scanned_s / asked_s:8.1f} times as fast")
    print(f"  the whole lineage     {lineage_s * 1000:9.3f} ms an id  {scanned_s / lineage_s:8.1f} times as fast")


if __name__ == "__main__":
    main()
