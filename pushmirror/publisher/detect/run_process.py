"""Runs the operator's program as if it had been started from the shell: same terminal, same files, same signals."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from pushmirror.errors import UsageError

_FORWARDED = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def run_program(command: Sequence[str]) -> int:
    """Run `command` to its end and return its exit code, 128 and the signal's number when a signal has ended it.

    Standard input, output and error are the program's own. Signals that end a program are passed on, and stay held
    back from this process afterwards, so that what follows is done to its end. Raises UsageError when there is no
    such program.
    """
    held_before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_FORWARDED, signal.SIGCHLD})
    try:
        child = os.posix_spawnp(
            command[0], list(command), os.environ, setsigmask=held_before, setsigdef=_IGNORED_BY_PYTHON
        )
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, held_before)
        raise UsageError(f"{command[0]}: cannot be started ({error.strerror}); nothing was done") from error
    return _await(child)


def _await(child: int) -> int:
    while True:
        arrived = signal.sigwaitinfo({*_FORWARDED, signal.SIGCHLD})
        if arrived.si_signo != signal.SIGCHLD:
            # What the kernel sends (Ctrl-C at a terminal) goes to the whole process group: the child has it already.
            if arrived.si_code <= 0:
                os.kill(child, arrived.si_signo)
            continue
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
