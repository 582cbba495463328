"""Policies: what a model has to show before it may stand at a stage, read from a file and kept as a record.

    name: careful
    stage: staging            # staging or production
    baseline: current         # current: the release that stands there now; none; or a ref, a run, a checkpoint
    alpha: 0.05               # the chance of opening by mistake that is put up with, gate by gate
    max_overlap: 0.01         # the share of items that may be found in the training text; null: not looked at
    canaries: [...]           # texts that must not be in it at all
    require_verdict: false    # whether the run must have been computed again, and come out the same
    require_signature: false  # whether the release must be signed
    gates:
      - {kind: at_least, suite: sums, metric: answer_correct, limit: 0.6, min_n: 50}
      - {kind: non_inferior, suite: sums, metric: answer_correct, margin: 0.03, by: category}

All gates must pass. Because none may be left out, their chances of error need no adjustment for being many: the chance that
a model that deserves to fail one of them passes them all is at most alpha (Berger 1982, Technometrics 24:295).
"""

import difflib
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from trainwright.core.errors import InvalidValue, ManifestNotFound, ManifestUnreadable, UnknownKey
from trainwright.core.records import Gate, Policy

SHIPPED = ("staging", "production")
"""Policies that come with Trainwright, by name."""
DEFAULTS: dict[str, Any] = {"baseline": "current", "alpha": 0.05, "max_overlap": 0.0}

_NEEDS = {
    "at_least": ({"limit"}, {"margin"}),
    "at_most": ({"limit"}, {"margin"}),
    "non_inferior": ({"margin"}, {"limit"}),
    "superior": (set(), {"limit", "margin"}),
}
"""{kind of gate: (what it must have, what it cannot have)}."""


def open_policy(name_or_path: str) -> Policy:
    """A shipped policy by name, or the one in a file.

    Raises ManifestNotFound, ManifestUnreadable, UnknownKey, InvalidValue.
    """
    if name_or_path in SHIPPED:
        text = (resources.files("trainwright.release") / "policies" / f"{name_or_path}.yaml").read_text(
            encoding="utf-8"
        )
        return parse_policy(text, name_or_path)
    path = Path(name_or_path)
    try:
        return parse_policy(path.read_text(encoding="utf-8"), str(path))
    except (FileNotFoundError, IsADirectoryError):
        raise ManifestNotFound(
            f"There is no policy {name_or_path}.",
            why=f"It is no file, and none of those that are shipped: {', '.join(SHIPPED)}.",
            next_step="Check the path; docs/guide.md shows what a policy looks like.",
        ) from None
    except UnicodeDecodeError:
        raise _unreadable(str(path), "It is not UTF-8.") from None
    except (OSError, ValueError) as error:  # a name that is too long, or holds what no name does
        raise _unreadable(str(path)[:200], f"{getattr(error, 'strerror', None) or error}.") from None


def parse_policy(text: str, where: str) -> Policy:
    """The policy that a YAML text states; `where` is what errors call it.

    Raises ManifestUnreadable, UnknownKey, InvalidValue.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _unreadable(where, " ".join(str(error).split())[:300]) from None
    if not isinstance(document, dict):
        raise _unreadable(where, "It is not a mapping of keys to values.")
    _require_known(document, set(Policy.model_fields) - {"kind"}, where, "")
    gates = document.get("gates")
    if not isinstance(gates, list) or not gates or not all(isinstance(gate, dict) for gate in gates):
        raise _invalid(
            where, "gates", "it must be a list of at least one gate", "A policy without a gate lets all pass."
        )
    for number, gate in enumerate(gates, start=1):
        _require_known(gate, set(Gate.model_fields), where, f"gates[{number}].")
    try:
        policy = Policy.model_validate(DEFAULTS | document)
    except ValidationError as error:
        first = error.errors()[0]
        raise _invalid(where, _name_place(first["loc"]), f"{first['msg'][:1].lower()}{first['msg'][1:]}") from None
    _require_meaning(policy, where)
    return policy


def _require_meaning(policy: Policy, where: str) -> None:
    if not 0 < policy.alpha < 0.5:
        raise _invalid(where, "alpha", "it lies between 0 and 0.5")
    if policy.max_overlap is not None and not 0 <= policy.max_overlap <= 1:
        raise _invalid(where, "max_overlap", "it is a share, from 0 to 1")
    for number, gate in enumerate(policy.gates, start=1):
        place = f"gates[{number}]"
        needed, excluded = _NEEDS[gate.kind]
        given = {name for name in ("limit", "margin") if getattr(gate, name) is not None}
        if needed - given:
            raise _invalid(where, place, f"a gate of the kind {gate.kind} needs {', '.join(needed - given)}")
        if given & excluded:
            raise _invalid(where, place, f"a gate of the kind {gate.kind} has no {', '.join(given & excluded)}")
        if gate.margin is not None and gate.margin < 0:
            raise _invalid(where, f"{place}.margin", "it is not negative")
        if gate.relative and gate.margin is None:
            raise _invalid(where, f"{place}.relative", "only a margin can be a share of the baseline's figure")
        if not 0 <= gate.max_missing < 1:
            raise _invalid(where, f"{place}.max_missing", "it is a share, from 0 to less than 1")
        if gate.min_n < 1:
            raise _invalid(where, f"{place}.min_n", "it is at least 1")
        if gate.kind in ("non_inferior", "superior") and policy.baseline == "none":
            raise _invalid(where, place, f"a gate of the kind {gate.kind} compares with a baseline, and there is none")


def _require_known(document: dict[str, Any], known: set[str], where: str, prefix: str) -> None:
    for key in document:
        if key not in known:
            near = difflib.get_close_matches(str(key), sorted(known), n=1)
            raise UnknownKey(
                f"{where}: a policy has no key {prefix}{key}.",
                why=f"Did you mean {prefix}{near[0]}?" if near else f"The keys are {', '.join(sorted(known))}.",
                next_step="Mend the key and run again.",
            )


def _name_place(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _invalid(where: str, place: str, what: str, why: str = "") -> InvalidValue:
    return InvalidValue(f"{where}: {place}: {what}.", why=why, next_step="Mend it and run again.")


def _unreadable(where: str, why: str) -> ManifestUnreadable:
    return ManifestUnreadable(f"{where} is no policy.", why=why, next_step="Mend the file; docs/guide.md shows one.")
