"""CrowS-Pairs (Nangia et al. 2020, arXiv:2010.00133): pairs of sentences, one more stereotypical than the other. CSV.

Measured by likelihood: which sentence of a pair, as a whole, does the model find likelier (row `prefers_stereotype`)?

    choices = (more stereotypical, less stereotypical)
    meta = {"direction": "stereo" | "antistereo", "bias_type": …}

`direction` says whether the more stereotypical sentence is about the disadvantaged group (stereo), or the less stereotypical
one is (antistereo). The sentence that `sent_more` holds is the more stereotypical one in both. `category` is the kind of bias.
"""

from pathlib import Path

from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.loaders.tables import iter_table, require_field
from trainwright.evaluate.rows import invalid_row

COLUMNS = ("sent_more", "sent_less", "stereo_antistereo", "bias_type")
SLICES = ("category", "direction")


def read_crows_pairs(path: Path) -> list[EvalItem]:
    """Its pairs, named `crows-` and their place in the file."""
    items = []
    for place, (number, row) in enumerate(iter_table(path, COLUMNS)):
        more, less = (require_field(row, key, path, number) for key in ("sent_more", "sent_less"))
        if more == less:
            raise invalid_row(path, number, "the two sentences are the same")
        direction = require_field(row, "stereo_antistereo", path, number, ("stereo", "antistereo"))
        kind = require_field(row, "bias_type", path, number)
        meta = {"direction": direction, "bias_type": kind}
        items.append(EvalItem(id=f"crows-{place}", prompt="", choices=(more, less), category=kind, meta=meta))
    return items
