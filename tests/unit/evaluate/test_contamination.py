"""Items that stand in the training text are found; those that only look alike are not."""

from trainwright.evaluate.contamination import find_overlap, split_words
from trainwright.evaluate.items import EvalItem

LONG = "Zoë planted seven apple trees in spring and nine more in autumn; how many trees has she?"


def item(item_id, prompt):
    return EvalItem(id=item_id, prompt=prompt, expected_answer="16")


def found(prompt, *texts):
    return bool(find_overlap([item("a", prompt)], texts).found)


def test_thirteen_words_in_a_row_are_enough():
    words = split_words(LONG)
    assert len(words) > 14
    assert found(LONG, "Before it. " + " ".join(words[1:14]).upper() + " and after.")
    assert not found(LONG, " ".join(words[1:13]) + " something else")


def test_a_shorter_prompt_must_stand_there_whole():
    assert found("How far is the moon?", "Tell me: how far  is THE moon, please")
    assert not found("How far is the moon?", "how far is the sun, and the moon")


def test_a_very_short_one_must_be_a_line_of_its_own():
    assert found("2 + 3 = ?", "1 + 1\n2 + 3 =\n")
    assert not found("2 + 3 = ?", "we know that 2 + 3 is five")


def test_only_whole_words_count_and_texts_are_not_joined():
    assert not found("How far is the moon?", "how far is the moonlight")
    assert not found("How far is the moon?", "how far is", "the moon")


def test_share_counts_and_names_items_and_canaries_are_looked_for_as_written():
    items = [item("a", "How far is the moon?"), item("b", "Where does the cat sleep?")]
    overlap = find_overlap(items, ["How far is the moon? Canary-7f"], ["Canary-7f", "canary-7F"])
    assert (overlap.share, overlap.found, overlap.canaries) == (0.5, ("a",), ("Canary-7f",))
    assert find_overlap([], []).share == 0
