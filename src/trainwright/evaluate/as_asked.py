"""Whether an evaluation was made as its suite says: of the suite's items, in its words, with its decoding.

A suite's name alone says nothing: a file may go by any name, and what a suite asks can be asked otherwise (`--template`,
`--max-tokens`). What was asked otherwise is kept and shown like any evaluation, and no gate rests on it.
"""

import json
from functools import cache
from typing import Any

from trainwright.core.records import Evaluation
from trainwright.evaluate.suites import PLACE, list_builtin_suites, open_suite

DECODING = ("max_tokens", "temperature", "top_k", "top_p", "seed")


def find_stranger(name: str, evaluation: Evaluation) -> str | None:
    """Why an evaluation is not of the suite that comes along under that name; None where it is, or none comes along."""
    if name not in list_builtin_suites():
        return None
    if evaluation.suite is None:
        return f"it is of a file that is called {name} too, and not of the suite that comes along"
    if evaluation.suite != _read_digest(name):
        return f"it is of another suite {name} than the one that comes along ({_read_digest(name)[:12]})"
    return None


def find_deviation(evaluation: Evaluation, suite: bytes, form: str) -> str | None:
    """What was otherwise than a suite says (`suite`: its content, see `OpenedSuite`); None where nothing was.

    `form` is the text in which the model is asked, with `{prompt}` in the prompt's place.
    """
    said: dict[str, Any] = json.loads(suite)
    settings = evaluation.settings
    if evaluation.items != said["items"]["sha256"]:
        return "its items are not the suite's"
    if settings.by != said["by"]:
        return f"it measured by {settings.by}, and the suite says {said['by']}"
    template = form.replace(PLACE, said["template"])
    if settings.template != template:
        return f"it asked with the template {settings.template!r}, and the suite says {template!r}"
    if settings.by != "generation":
        return None
    for key in DECODING:
        given = getattr(settings, key)
        if given != said["decoding"][key]:
            return f"it asked with {key} {given}, and the suite says {said['decoding'][key]}"
    return None


@cache
def _read_digest(name: str) -> str:
    return open_suite(name).digest
