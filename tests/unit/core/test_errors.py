"""The tree of errors: complete, named once each, and drawn as it is."""

import errno
import re
from pathlib import Path

import pytest

from trainwright.core import errors
from trainwright.core.errors import DiskFull, NotWritable, TrainwrightError, iter_error_classes, translate_write_errors

BRANCHES = {
    errors.UsageError: 64,
    errors.PrerequisiteError: 1,
    errors.DataError: 2,
    errors.TokenizerError: 3,
    errors.TrainingError: 4,
    errors.EvaluationError: 5,
    errors.ReleaseError: 6,
    errors.BudgetReached: 7,
    errors.InternalError: 70,
    errors.Interrupted: 130,
}


def test_every_name_is_kebab_case_and_belongs_to_one_class():
    names = [error_class.name for error_class in iter_error_classes()]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in names)


def test_name_of_a_leaf_is_its_class_name():
    for error_class in iter_error_classes():
        if error_class not in (TrainwrightError, *BRANCHES):
            words = re.findall(r"[A-Z][a-z]*", error_class.__name__)
            assert error_class.name == "-".join(words).lower()


def test_every_class_has_the_exit_code_of_its_branch():
    for error_class in iter_error_classes():
        branch = next((branch for branch in BRANCHES if issubclass(error_class, branch)), None)
        if branch is not None:
            assert error_class.exit_code == BRANCHES[branch], error_class
        else:
            assert error_class is TrainwrightError


def test_every_class_has_an_http_status_that_is_an_error():
    assert all(400 <= error_class.http_status < 600 for error_class in iter_error_classes())


def test_the_drawing_shows_every_class_and_no_other():
    drawn = set(
        re.findall(
            r"\b[A-Z][a-z]+(?:[A-Z][a-z]*)+\b|\bInterrupted\b|\bDrift\b", errors.__doc__.split("An error carries")[0]
        )
    )
    there = {error_class.__name__ for error_class in iter_error_classes()}
    assert drawn == there


def test_every_class_says_what_it_is_for():
    assert all(error_class.__doc__ for error_class in iter_error_classes())


def test_parents_come_before_their_children():
    seen = list(iter_error_classes())
    assert seen[0] is TrainwrightError
    for position, error_class in enumerate(seen[1:], start=1):
        assert error_class.__base__ in seen[:position]


def test_document_holds_the_five_fields():
    error = DiskFull("No room.", why="It is full.", next_step="Free some.")
    assert error.as_document() == {
        "name": "disk-full",
        "message": "No room.",
        "why": "It is full.",
        "next": "Free some.",
        "exit_code": 1,
    }
    assert str(error) == "No room."


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EFBIG, DiskFull),
        (errno.EACCES, NotWritable),
        (errno.EPERM, NotWritable),
        (errno.EROFS, NotWritable),
    ],
)
def test_refusal_to_write_becomes_a_designed_error(number, expected):
    with pytest.raises(expected) as raised, translate_write_errors(Path("somewhere")):
        raise OSError(number, "said so")
    assert "somewhere" in raised.value.message
    assert "said so" in raised.value.why
    assert raised.value.next_step
    assert isinstance(raised.value.__cause__, OSError)


def test_other_refusals_pass_through():
    with pytest.raises(IsADirectoryError), translate_write_errors(Path("somewhere")):
        raise IsADirectoryError(errno.EISDIR, "a folder")
