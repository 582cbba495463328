"""A lock is one process's, and looking at it refuses nobody."""

import fcntl
import os
import threading

from trainwright.core.locking import is_lock_held, take_lock


def test_a_lock_that_is_held_is_seen_and_not_taken(tmp_path):
    path = tmp_path / "lock"
    assert not is_lock_held(path)
    first = os.open(path, os.O_RDWR | os.O_CREAT)
    second = os.open(path, os.O_RDWR)
    assert take_lock(first)
    assert is_lock_held(path)
    assert not take_lock(second)
    os.close(first)
    assert not is_lock_held(path)
    assert take_lock(second)
    os.close(second)


def test_who_only_looks_for_an_instant_refuses_nobody(tmp_path):
    path = tmp_path / "lock"
    looking = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.1, lambda: os.close(looking)).start()
    taking = os.open(path, os.O_RDWR)
    assert take_lock(taking)
    os.close(taking)
