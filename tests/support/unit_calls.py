"""The filter of system calls of a systemd unit, imposed by strace on a daemon that systemd did not start."""

from __future__ import annotations

import functools
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.units import Unit

_CALL = re.compile(r"\d+ +(?:<\.\.\. )?(?P<name>\w+)")
_DENIED = "(INJECTED)"


def find_missing_for_calls() -> str | None:
    """Return why no filter can be imposed here, None when one can."""
    told = {
        "strace": "strace is not installed, which denies calls in place of systemd",
        "systemd-analyze": "systemd-analyze is not installed, which knows the groups of calls",
    }
    missing = next((reason for name, reason in told.items() if shutil.which(name) is None), None)
    if missing:
        return missing
    tried = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "true"], capture_output=True, check=False
    )
    return f"strace may not trace here: {tried.stderr.decode().strip()}" if tried.returncode else None


def deny_calls(unit: Unit, trace: Path, watched: Sequence[str]) -> list[str]:
    """Return the command that runs the arguments after it, and what they start, under the unit's filter of calls.

    A call outside the filter gets EPERM, as it would from the kernel, and is written to `trace`, as are those of
    the `watched` ones that are made. The process keeps its id; the trace is whole when it says that this one exited.
    Beside it a script is left.
    """
    assert unit.value("SystemCallErrorNumber") == "EPERM"
    allowed = find_allowed_calls(unit)
    silent = ",".join(f"?{name}" for name in sorted(allowed - set(watched)))
    harmless = ",".join(f"?{name}" for name in sorted(allowed))
    rules = [f"--trace=!{silent}", f"--inject=!{harmless}:error=EPERM"]
    strace = ["exec", "strace", "-D", "-f", "-q", "--seccomp-bpf", "-s", "0", "-o", str(trace), *rules]
    script = trace.with_suffix(".sh")
    script.write_text(shlex.join(strace) + ' "$@"\n')
    return ["sh", str(script)]


def find_allowed_calls(unit: Unit) -> frozenset[str]:
    """Return the system calls that the unit's filter lets through, as this machine's systemd knows the groups."""
    allowed: set[str] = set()
    for line in unit.values("SystemCallFilter"):
        names = {name for word in line.removeprefix("~").split() for name in _expand(word)}
        allowed = allowed - names if line.startswith("~") else allowed | names
    return frozenset(allowed | _expand("@default"))  # systemd adds these itself


def _expand(name: str) -> frozenset[str]:
    if not name.startswith("@"):
        return frozenset([name])
    return frozenset(call for member in _groups()[name] for call in _expand(member))


@functools.cache
def _groups() -> dict[str, list[str]]:
    told = subprocess.run(["systemd-analyze", "syscall-filter"], capture_output=True, text=True, check=True).stdout
    groups: dict[str, list[str]] = {}
    for line in told.splitlines():
        word = line.strip()
        if line.startswith("@"):
            members = groups.setdefault(word, [])
        elif word and not word.startswith("#"):
            members.append(word)
    return groups


def read_trace(trace: Path) -> list[tuple[str, str]]:
    """Return the name and the line of each call in a trace."""
    lines = trace.read_text("utf-8", "backslashreplace").splitlines()
    return [(match["name"], line) for line in lines if (match := _CALL.match(line))]


def is_denied(line: str) -> bool:
    """Whether the call of this line got the filter's answer."""
    return line.endswith(_DENIED)
