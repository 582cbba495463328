"""The presets: sets of manifest values that belong together.

`quick`, `balanced` and `low-memory` were run whole on two cores. Of `high`'s 3,000 steps 20 were run, within its budgets.
"""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    # To see the whole path work: the command ends in under a minute on two idle cores. In that time
    # half the usual batch, twice as often, taught more.
    "quick": {
        "model": {"hidden_size": 96, "heads": 3, "head_dim": 32, "intermediate_size": 256, "max_parameters": 900_000},
        "train": {"steps": 160, "batch_size": 16},
    },
    # Meant for a board with 1 GB.
    "low-memory": {
        "model": {"hidden_size": 64, "heads": 2, "head_dim": 32, "intermediate_size": 176, "max_parameters": 450_000},
        "train": {"steps": 600, "batch_size": 8, "accumulation": 2},
        "budgets": {"inference_rss_mb": 350, "model_file_mb": 4, "training_peak_mb": 256},
    },
    # The default: a file under 10 MB, text that holds together on simple corpora.
    "balanced": {
        "train": {"steps": 200},
    },
    # A larger model, trained longer.
    "high": {
        "model": {
            "hidden_size": 320,
            "heads": 10,
            "head_dim": 32,
            "intermediate_size": 864,
            "max_parameters": 10_500_000,
        },
        "train": {"steps": 3000, "max_seq_length": 256},
        "budgets": {"latency_p95_ms": 500, "inference_rss_mb": 600, "model_file_mb": 48, "training_peak_mb": 2048},
    },
}
