import errno
import io
import os
import signal
import sys

import pytest

from utils.interrupts import StopRequest
from utils.terminal import survive_closed_terminal


@pytest.fixture
def before(monkeypatch):
    """Restores the handlers that a test sets itself."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_are_requests_and_only_a_second_ctrl_c_raises(first, capfd):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup pytest` ignores it
    stop = StopRequest()
    with stop.listening():
        assert not stop.is_set
        os.kill(os.getpid(), first)
        assert stop.is_set
        # A terminal that is closed sends SIGHUP twice, and systemd sends SIGHUP after SIGTERM.
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert capfd.readouterr().err.count("stopping after this step") == 1


@pytest.mark.usefixtures("before")
def test_nohup_keeps_its_meaning():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = StopRequest()
    with stop.listening():
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.is_set
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_output_to_a_closed_terminal_has_no_effect(monkeypatch):
    window, terminal = os.openpty()
    with open(terminal, "w", closefd=False) as plain:
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, plain)
        survive_closed_terminal()
        for stream in (sys.stdout, sys.stderr):
            assert stream.isatty()
            print("shown", file=stream, flush=True)
            assert os.read(window, 100).split() == [b"shown"]
        os.close(window)
        for stream in (sys.stdout, sys.stderr):
            print("lost", file=stream, flush=True)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            os.write(terminal, b"lost")
    os.close(terminal)


def test_standard_error_can_be_a_pipe_whose_reader_has_exited(monkeypatch):
    reader, writer = os.pipe()
    with io.TextIOWrapper(io.FileIO(writer, "w")) as plain:
        monkeypatch.setattr(sys, "stdout", plain)
        monkeypatch.setattr(sys, "stderr", plain)
        survive_closed_terminal()
        assert sys.stdout is plain  # whose reader wants the results
        print("shown", file=sys.stderr)
        assert os.read(reader, 100) == b"shown\n"
        os.close(reader)
        print("lost", file=sys.stderr)


def test_streams_that_are_no_terminals_do_not_change(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", None)
    survive_closed_terminal()
    assert sys.stdout is stream and sys.stderr is None
