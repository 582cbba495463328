"""What must be equal before two evaluations may be compared: the items, the prompts as they were read, the metrics."""

from collections.abc import Mapping

from trainwright.core.errors import ItemsDiffer, MetricsDiffer, PromptsDiffer
from trainwright.core.records import Evaluation

NUM_NAMED = 5
"""How many ids an error lists."""

Documents = Mapping[str, Mapping[str, object]]
"""{item id: what is known of it}."""


def require_same_items(a: Documents, b: Documents) -> None:
    """Raises ItemsDiffer, naming the items that are on one side alone and those with other content."""
    found = [
        _name([item for item in a if item not in b], "only in A"),
        _name([item for item in b if item not in a], "only in B"),
        *(
            _name([item for item in a if item in b and a[item].get(key) != b[item].get(key)], f"with another {key}")
            for key in dict.fromkeys(key for documents in (a, b) for document in documents.values() for key in document)
        ),
    ]
    listed = list(filter(None, found))
    if listed:
        raise ItemsDiffer(
            "The two evaluations are not of the same items.",
            why=f"{'; '.join(listed)}.",
            next_step="Evaluate both on one evalset file, unchanged.",
        )


def require_same_prompts(a: Mapping[str, str], b: Mapping[str, str]) -> None:
    """Raises PromptsDiffer, naming the items whose prompts the models read in other words."""
    changed = [item for item in a if a[item] != b.get(item)]
    if changed:
        raise PromptsDiffer(
            "The two evaluations asked in other words.",
            why=f"{_name(changed, 'with another prompt')}; {changed[0]}: {a[changed[0]]!r} became {b.get(changed[0])!r}.",
            next_step="Evaluate both with the same --template.",
        )


def require_same_metrics(a: Evaluation, b: Evaluation) -> None:
    """Raises MetricsDiffer where the two share no metric, or one was defined otherwise."""
    changed = [name for name, version in a.metrics.items() if b.metrics.get(name, version) != version]
    if changed or not a.metrics.keys() & b.metrics.keys():
        raise MetricsDiffer(
            "The two evaluations cannot be compared by their metrics.",
            why=f"Other versions of {', '.join(changed)}."
            if changed
            else f"A has {', '.join(a.metrics)}, B has {', '.join(b.metrics)}.",
            next_step="Evaluate both again, in the same way (--by).",
        )


def _name(ids: list[str], what: str) -> str:
    if not ids:
        return ""
    return f"{len(ids)} {what}: {', '.join(ids[:NUM_NAMED])}{' …' if len(ids) > NUM_NAMED else ''}"
