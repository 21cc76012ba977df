"""`pushmirror keygen`: make the key of a publisher or of a node."""

from __future__ import annotations

import socket
from pathlib import Path

import click


@click.command("keygen")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--comment", metavar="C", help="Name written behind the key; this machine's host name if absent.")
def keygen(file: Path, comment: str | None) -> None:
    """Make an ed25519 key in OpenSSH format: FILE (secret, mode 0600) and FILE.pub.

    Prints the public key, one line, on standard output. An existing file is never overwritten.
    """
    from pushmirror.keys import generate_key_file

    name = socket.gethostname() if comment is None else comment
    public = generate_key_file(file, name)
    click.echo(f"{public.line} {public.comment}".rstrip())
    click.echo(_next_steps(file), err=True)


def _next_steps(file: Path) -> str:
    return (
        f"\nThe secret half is in {file}: let it belong to the user that the daemon runs as, and name it in the\n"
        f"settings as `key`. The line above, also in {file}.pub, is for others:\n"
        "  a publisher's: subscribers pin it in subscriber.yaml, under upstreams.NAME.keys\n"
        "  a subscriber's: the publisher adds it to authorized_nodes, with the node's name behind the key"
    )
