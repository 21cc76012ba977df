"""How long client commands take to start, beside an interpreter that does nothing.

    python -m benchmarks.startup [--rounds 9]

Prints medians of whole processes, in milliseconds: ``--help`` of each command, which imports what the command needs.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import click

COMMANDS = ("publish", "run", "status", "sync", "approve", "tail", "keygen", "check-config")


def median_ms(arguments: list[str], rounds: int) -> float:
    """Return the median time of a process, the first run not counted."""
    times = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        subprocess.run(arguments, capture_output=True, check=True)
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times[1:])


@click.command()
@click.option("--rounds", default=9, show_default=True)
def main(rounds: int) -> None:
    """Print a line for each command."""
    print(f"{'nothing':14} {median_ms([sys.executable, '-c', 'pass'], rounds):6.0f} ms")
    for command in COMMANDS:
        taken = median_ms([sys.executable, "-m", "pushmirror", command, "--help"], rounds)
        print(f"{command:14} {taken:6.0f} ms")


if __name__ == "__main__":
    main()
