"""Ctrl-C and SIGTERM, with real signals."""

import os
import signal
import threading

import pytest

from trainwright.train.interruption import listen_for_stop


def send(number):
    """Send a signal to this process; Python runs its handler before the next line."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_asks_for_a_stop_and_breaks_nothing(number):
    with listen_for_stop() as request:
        assert not request.is_made
        send(number)
        assert request.is_made


def test_second_ctrl_c_stops_at_once():
    with listen_for_stop() as request:
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        assert request.is_made


def test_ctrl_c_after_a_termination_stops_at_once():
    with listen_for_stop():
        send(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_termination_may_be_repeated():
    with listen_for_stop() as request:
        for _ in range(3):
            send(signal.SIGTERM)
        assert request.is_made


def test_signals_are_given_back_when_the_block_ends():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with listen_for_stop():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    with pytest.raises(RuntimeError, match="broken"), listen_for_stop():
        raise RuntimeError("broken")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_next_block_begins_without_a_request():
    with listen_for_stop() as request:
        request.make()
        assert request.is_made
    with listen_for_stop() as request:
        assert not request.is_made


def test_outside_the_main_thread_the_request_is_made_by_whoever_holds_it():
    handler = signal.getsignal(signal.SIGINT)
    seen = []

    def listen():
        with listen_for_stop() as request:
            seen.append(signal.getsignal(signal.SIGINT) is handler)
            request.make()
            seen.append(request.is_made)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [True, True]
