"""The `pushmirror` command as a whole: help, lazy commands, errors and exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

import pushmirror
from pushmirror import errors
from pushmirror.cli import main
from tests.support.processes import Program, clean_environment, run_pushmirror

CLIENT_COMMANDS = [
    *("publish", "run", "status", "sync", "approve", "refuse", "pause", "resume", "history", "tail", "keygen"),
]
HEAVY = ("twisted", "treq", "fedmsg", "pydantic")

# a group of our own with one command, so that what a command raises is the test's choice; runs as a separate process
STAND_IN = """
import sys, click
from pushmirror import errors
from pushmirror.cli import main
@main.group.command("stand-in")
def stand_in(): {body}
main.COMMANDS = {{"stand-in": main.Entry("__main__:stand_in", "Help.")}}
sys.argv = ["pushmirror", "stand-in"]
main.main()
"""


def run_stand_in(body: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with one command whose body is `body`."""
    script = STAND_IN.format(body=body)
    return subprocess.run(
        [sys.executable, "-c", script],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_help_lists_every_command_without_importing_any() -> None:
    """`--help` shows all commands with a line each; no module of a command is imported for it."""
    script = (
        "import sys; from pushmirror.cli import main; code = main.run(['--help']);"
        "print('loaded', sorted(name for name in sys.modules if name.startswith('pushmirror.cli.')))"
    )
    shown = subprocess.check_output([sys.executable, "-c", script], env=clean_environment(), text=True, timeout=30)
    for name, entry in main.COMMANDS.items():
        assert any(line.split() == [name, *entry.help.split()] for line in shown.splitlines()), name
    assert shown.splitlines()[-1] == "loaded ['pushmirror.cli.main']"


def test_the_version_is_the_packages() -> None:
    """`--version` prints the version on stdout."""
    assert run_pushmirror("--version").stdout.decode().split()[-1] == pushmirror.__version__


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_of_the_table_is_there(name: str) -> None:
    """Each entry leads to a click command of that name, with a help text of its own."""
    command = main.load(main.COMMANDS[name])
    assert command.name == name
    assert command.get_short_help_str()


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_has_a_help_page(name: str) -> None:
    """`pushmirror COMMAND --help` exits with 0 and begins with the usage."""
    done = run_pushmirror(name, "--help")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(f"Usage: pushmirror {name} ".encode())


@pytest.mark.parametrize("name", CLIENT_COMMANDS)
def test_client_commands_load_nothing_heavy(name: str) -> None:
    """A client command's module brings in neither Twisted nor fedmsg nor pydantic, whoever might import them."""
    script = f"import sys; from pushmirror.cli import main; main.load(main.COMMANDS[{name!r}]); print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", script], env=clean_environment(), text=True, timeout=30)
    assert not {module.split(".")[0] for module in loaded.split()} & set(HEAVY)


def test_an_unknown_command_is_a_usage_error_that_names_the_nearest() -> None:
    """A misspelt command exits with 2 and says which one may have been meant."""
    done = run_pushmirror("publsh")
    assert done.returncode == 2
    assert b"There is no command 'publsh': did you mean 'publish'?" in done.stderr
    assert done.stdout == b""


def test_an_unknown_command_like_no_other_points_to_the_help() -> None:
    """Where nothing is near, the way to the list of commands is told."""
    done = run_pushmirror("xyzzy")
    assert done.returncode == 2
    assert b"'pushmirror --help' lists all commands" in done.stderr


def test_an_unknown_option_is_a_usage_error() -> None:
    """An option that does not exist exits with 2."""
    done = run_pushmirror("--frobnicate")
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [("UsageError", 2), ("KeyFileError", 2), ("NotRunning", 3), ("TimedOut", 4), ("Refused", 1), ("StateError", 1)],
)
def test_our_errors_become_a_text_and_an_exit_code(error: str, exit_code: int) -> None:
    """An error of ours is told on stderr without a traceback and decides the exit code."""
    done = run_stand_in(f"raise errors.{error}('do this instead')")
    assert getattr(errors, error).exit_code == exit_code
    assert (done.returncode, done.stdout, done.stderr) == (exit_code, "", "pushmirror: do this instead\n")


def test_every_fault_of_a_settings_file_has_a_line() -> None:
    """The faults of a settings error are told one per line, each marked."""
    done = run_stand_in("raise errors.SettingsError((errors.Fault('f', 1, 'a', 'x'), errors.Fault('f', 2, '', 'y')))")
    assert (done.returncode, done.stderr) == (2, "pushmirror: f:1: a: x\npushmirror: f:2: y\n")


def test_a_fault_of_the_program_shows_its_traceback() -> None:
    """What is not an error of ours is a bug, and is not hidden."""
    done = run_stand_in("raise ZeroDivisionError('a bug')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_command_may_end_with_its_own_exit_code() -> None:
    """`sys.exit` and click's own exit keep their codes; a command that returns ends with 0."""
    assert run_stand_in("sys.exit(4)").returncode == 4
    assert run_stand_in("click.get_current_context().exit(3)").returncode == 3
    assert run_stand_in("return None").returncode == 0


def test_ctrl_c_ends_quietly_with_130(tmp_path: Path) -> None:
    """SIGINT during a client command leaves no traceback and the exit code that shells expect."""
    script = STAND_IN.format(body="import time; print('ready', flush=True); time.sleep(60)")
    command = (sys.executable, "-c")
    with Program([script], log_path=tmp_path / "log", command=command) as program:
        program.wait_for_line("ready")
        program.send(signal.SIGINT)
        assert program.wait() == 130
        assert "Traceback" not in program.log_text()


def test_a_reader_that_goes_away_is_not_an_error_to_talk_about() -> None:
    """When stdout's reader has gone, the command ends with 1 and writes nothing to stderr."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "pushmirror", "--help"],
            env=clean_environment(),
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_table_entry_that_is_no_command_is_refused() -> None:
    """A target that exists and is not a click command is an error of the table."""
    with pytest.raises(AttributeError, match="not a click command"):
        main.load(main.Entry("pushmirror.errors:PushmirrorError", "Help."))
    assert isinstance(main.group, click.Group)
