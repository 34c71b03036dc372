"""Signals of a test's child processes."""

import signal


def take_signals() -> None:
    """As `preexec_fn`: the child hears Ctrl-C and a lost terminal, also where the tests run in a shell's background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
