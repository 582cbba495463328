"""What outputs look like, whatever they say: variety, repetition, and how many are empty or cut off."""

from collections.abc import Sequence

from trainwright.core.records import ItemScore, Measure

NUM_REPEATED = 4
"""Words in a row that count as a repetition."""


def measure_texts(rows: Sequence[ItemScore]) -> dict[str, Measure]:
    """Properties of the outputs in an item table, each output counted once; nothing where nothing was written."""
    outputs = list({row.item_id: row for row in reversed(rows) if row.output is not None}.values())
    if not outputs:
        return {}
    texts = [str(row.output).split() for row in outputs]
    finishes = [row.finish for row in outputs]
    return {
        "distinct_1": measure_distinct(texts, 1),
        "distinct_2": measure_distinct(texts, 2),
        "repetition": measure_repetition(texts),
        "empty_rate": Measure(value=sum(not words for words in texts) / len(texts), unit="share of outputs"),
        "truncated_rate": Measure(value=None, unit="share of outputs", why_not="nobody recorded how every output ended")
        if None in finishes
        else Measure(value=finishes.count("length") / len(finishes), unit="share of outputs"),
    }


def measure_distinct(texts: Sequence[Sequence[str]], n: int) -> Measure:
    """Different n-grams of words over all of them, all texts together (Li et al. 2016, arXiv:1510.03055)."""
    grams = [gram for words in texts for gram in _list_grams(words, n)]
    if not grams:
        return Measure(value=None, unit="share of n-grams", why_not=f"no output has {n} words")
    return Measure(value=len(set(grams)) / len(grams), unit="share of n-grams")


def measure_repetition(texts: Sequence[Sequence[str]]) -> Measure:
    """1 − different 4-grams over all of them within a text, the mean over texts that have any (Welleck et al. 2019,
    arXiv:1908.04319, seq-rep-4).
    """
    counted = [grams for words in texts if (grams := _list_grams(words, NUM_REPEATED))]
    if not counted:
        return Measure(value=None, unit="share of 4-grams", why_not=f"no output has {NUM_REPEATED} words")
    shares = [1 - len(set(grams)) / len(grams) for grams in counted]
    return Measure(value=sum(shares) / len(shares), unit="share of 4-grams")


def _list_grams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
