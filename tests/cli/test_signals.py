from __future__ import annotations

import os
import signal

import pytest

from medkit.cli.signals import signals_call


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_each_signal_calls_and_what_stood_before_stands_again(number):
    before, called = signal.getsignal(number), []
    with signals_call(lambda: called.append(number)):
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
    assert called == [number, number]
    assert signal.getsignal(number) is before


def test_it_stands_again_after_an_error_too():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(OSError, match="the disk"), signals_call(lambda: None):
        raise OSError("the disk")
    assert signal.getsignal(signal.SIGTERM) is before
