"""The ``pushmirror`` command: imports the subcommand that is asked for, and turns errors into texts and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click

import pushmirror
from pushmirror.errors import PushmirrorError

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130  # what a shell reports for a program that SIGINT has ended


@dataclass(frozen=True)
class Entry:
    """Where a subcommand is (``module:attribute``), and the line that ``--help`` shows for it."""

    target: str
    help: str


COMMANDS: Mapping[str, Entry] = {
    "publisher": Entry("pushmirror.cli.publisher:publisher", "Run the Tier 1 daemon in the foreground."),
    "subscriber": Entry("pushmirror.cli.subscriber:subscriber", "Run the Tier 2 daemon in the foreground."),
    "publish": Entry("pushmirror.cli.publish:publish", "Announce what changed in a tree; prints the serial."),
    "run": Entry("pushmirror.cli.run:run", "Run the rsync that brings a tree, and announce its changes."),
    "sync": Entry("pushmirror.cli.operate:sync", "Ask the running subscriber for a sync now."),
    "status": Entry("pushmirror.cli.status:status", "Show what a running daemon knows."),
    "approve": Entry("pushmirror.cli.operate:approve", "Let a tree's held deletions go ahead."),
    "refuse": Entry("pushmirror.cli.operate:refuse", "Drop a tree's held deletions."),
    "pause": Entry("pushmirror.cli.operate:pause", "Start no new jobs for a tree."),
    "resume": Entry("pushmirror.cli.operate:resume", "Start jobs for a paused tree again."),
    "history": Entry("pushmirror.cli.operate:history", "Show the last jobs of a tree."),
    "tail": Entry("pushmirror.cli.tail:tail", "Follow announcements and reports on the bus."),
    "explain": Entry("pushmirror.cli.explain:explain", "Show what a subscriber would do with a message."),
    "check-config": Entry("pushmirror.cli.check_config:check_config", "Check a settings file; reports every fault."),
    "keygen": Entry("pushmirror.cli.keygen:keygen", "Make an ed25519 key in OpenSSH format."),
    "rotate-key": Entry("pushmirror.cli.rotate_key:rotate_key", "Exchange the publisher's key for a new one."),
    "demo": Entry("pushmirror.cli.demo.command:demo", "Show the whole thing on this machine."),
}


class LazyGroup(click.Group):
    """A group whose commands are listed from `COMMANDS` and imported one at a time, when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table, which is that of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name, or None when there is none; imports its module."""
        entry = COMMANDS.get(cmd_name)
        return load(entry) if entry else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that `args` begin with; an unknown name is a usage error that names the nearest."""
        name = args[0] if args else ""
        if name in COMMANDS or name.startswith("-"):
            return super().resolve_command(ctx, args)
        import difflib

        near = difflib.get_close_matches(name, COMMANDS, n=1)
        advice = f"did you mean '{near[0]}'?" if near else "'pushmirror --help' lists all commands."
        raise click.UsageError(f"There is no command '{name}': {advice}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table, so that ``--help`` imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


def load(entry: Entry) -> click.Command:
    """Return the click command that `entry` points to.

    Raises ImportError or AttributeError when there is none: a fault of the table, not of the operator.
    """
    module_name, attribute = entry.target.split(":")
    command = getattr(importlib.import_module(module_name), attribute)
    if not isinstance(command, click.Command):
        raise AttributeError(f"{entry.target} is not a click command")
    return command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done; 1 failed; 2 usage or settings; 3 the daemon is not running; 4 timed out.",
)
@click.version_option(pushmirror.__version__, prog_name="pushmirror")
def group() -> None:
    """Push mirroring over a message bus: a Tier 1 announces what changed, each Tier 2 fetches exactly that."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command (None: the arguments of this process) and return its exit code; errors are told on stderr."""
    try:
        result = group.main(args=arguments, prog_name="pushmirror", standalone_mode=False)
        sys.stdout.flush()
    except PushmirrorError as error:
        tell(str(error))
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        silence_stdout()
        return EXIT_FAILED
    return result if isinstance(result, int) else EXIT_DONE


def tell(text: str) -> None:
    """Write `text` to stderr, every line marked as ours (a settings error has one line per fault)."""
    for line in text.splitlines() or [""]:
        click.echo(f"pushmirror: {line}", err=True)


def silence_stdout() -> None:
    """Point stdout at nothing: whoever read it has gone, and the interpreter would complain when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Run the command line of this process and end it with the command's exit code."""
    sys.exit(run())
