"""Budgets: how much of what may be spent is spent, and which marks were passed on the way. Pure functions.

A limit that cannot be held against a measurement (money without prices, energy on a machine that does not tell it) is an
error where it is set, never a limit that silently is none.
"""

from dataclasses import dataclass
from typing import Any, Literal

from trainwright.core.manifest import LimitsSection
from trainwright.core.records import Measure
from trainwright.watch.cost import Amounts

BANDS = (0.5, 0.75, 0.9, 1.0)
"""Shares of a limit at which something is said; at the last one the run stops."""

LimitName = Literal["money", "hours", "energy_kwh", "tokens"]
LIMITS: tuple[LimitName, ...] = ("money", "hours", "energy_kwh", "tokens")


@dataclass(frozen=True)
class Budget:
    """A limit on one amount. `of`: "run", or the name of a project as "project NAME"."""

    of: str
    what: LimitName
    limit: float


@dataclass(frozen=True)
class Standing:
    """How much of a budget is spent; a measure without a value says why it is not known."""

    budget: Budget
    spent: Measure

    @property
    def share(self) -> float | None:
        """Of the limit; None where what is spent is not known."""
        return None if self.spent.value is None else self.spent.value / self.budget.limit

    @property
    def band(self) -> float:
        """The highest mark that was passed; 0.0: none."""
        return max((band for band in BANDS if self.share is not None and self.share >= band), default=0.0)

    @property
    def is_reached(self) -> bool:
        """Whether nothing is left."""
        return self.band == BANDS[-1]

    def as_document(self) -> dict[str, Any]:
        """{of, what, limit, spent, unit, share, why_not}."""
        return {
            "of": self.budget.of,
            "what": self.budget.what,
            "limit": self.budget.limit,
            "spent": self.spent.value,
            "unit": self.spent.unit,
            "share": self.share,
            "why_not": self.spent.why_not,
        }


def list_budgets(limits: LimitsSection, of: str) -> list[Budget]:
    """The limits that are set."""
    return [Budget(of, what, limit) for what in LIMITS if (limit := getattr(limits, what)) is not None]


def measure_standing(budget: Budget, spent: Amounts) -> Standing:
    """How a budget stands after `spent`."""
    found = {
        "money": spent.money,
        "hours": spent.wall_hours,
        "energy_kwh": spent.energy,
        "tokens": spent.tokens,
    }
    return Standing(budget, found[budget.what])
