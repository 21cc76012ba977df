"""``pushmirror demo``: the whole thing on this machine, with a change and the proof that it arrived."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import click

from pushmirror.errors import PushmirrorError

_PREFIX = "pushmirror-demo-"
_LONGEST_PLACE_BYTES = 60
"""What is left of a UNIX socket's 107 bytes for the folder of temporary files."""


@click.command("demo")
@click.option("--mirrors", type=click.IntRange(1, 20), default=3, show_default=True, help="How many subscribers.")
@click.option("--files", type=click.IntRange(100, 200_000), default=2000, show_default=True, help="Files in the tree.")
@click.option("--keep", is_flag=True, help="Leave it running until Ctrl-C, and say how to look at it.")
def demo(mirrors: int, files: int, keep: bool) -> None:
    """Show the whole thing on this machine, in a few seconds.

    Starts an rsync daemon, a publisher and some subscribers in a temporary folder, changes a tree, announces that, and
    proves that every mirror has it. Leaves nothing behind. Exits with 0 only if every mirror is exact.
    """
    if shutil.which("rsync") is None:
        raise PushmirrorError("the demonstration needs rsync: install it, for example with `apt install rsync`")
    if len(os.fsencode(tempfile.gettempdir())) > _LONGEST_PLACE_BYTES:
        raise PushmirrorError(f"{tempfile.gettempdir()} is too long a path for sockets in it: run it with TMPDIR=/tmp")
    from pushmirror.cli.demo.processes import Interrupted, Interruptions, Processes
    from pushmirror.cli.demo.steps import Show

    interruptions = Interruptions()
    processes = Processes(interruptions)
    folder: Path | None = None
    with interruptions.raised():
        try:
            with interruptions.held():
                folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
            exact = Show(folder, mirrors, files, processes).run(keep=keep)
        except Interrupted as interrupted:
            click.echo(f"pushmirror: {interrupted}: clearing everything away", err=True)
            raise click.exceptions.Exit(128 + interrupted.number) from interrupted
        finally:
            interruptions.forget()
            processes.stop()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
    if not exact:
        raise click.exceptions.Exit(1)
