"""`pushmirror keygen`: make the key of a publisher or of a node, or that of an encrypted bus."""

from __future__ import annotations

import socket
from pathlib import Path

import click


@click.command("keygen")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--comment", metavar="C", help="Name written behind the key; this machine's host name if absent.")
@click.option("--curve", is_flag=True, help="Make a key for an encrypted bus (ZeroMQ's CURVE) instead.")
def keygen(file: Path, comment: str | None, curve: bool) -> None:
    """Make an ed25519 key in OpenSSH format: FILE (secret, mode 0600) and FILE.pub.

    With --curve a key by which the bus is encrypted, and by which a private one knows a node. Prints the public key,
    one line, on standard output. An existing file is never overwritten.
    """
    name = socket.gethostname() if comment is None else comment
    if curve:
        click.echo(_make_curve(file, name))
        click.echo(_next_steps_of_curve(file), err=True)
    else:
        click.echo(_make_key(file, name))
        click.echo(_next_steps(file), err=True)


def _make_key(file: Path, name: str) -> str:
    from pushmirror.keys import generate_key_file

    public = generate_key_file(file, name)
    return f"{public.line} {public.comment}".rstrip()


def _make_curve(file: Path, name: str) -> str:
    from pushmirror.curve import generate_curve_file

    return generate_curve_file(file, name).line


def _next_steps(file: Path) -> str:
    return (
        f"\nThe secret half is in {file}: let it belong to the user that the daemon runs as, and name it in the\n"
        f"settings as `key`. The line above, also in {file}.pub, is for others:\n"
        "  a publisher's: subscribers pin it in subscriber.yaml, under upstreams.NAME.keys\n"
        "  a subscriber's: the publisher adds it to authorized_nodes, with the node's name behind the key"
    )


def _next_steps_of_curve(file: Path) -> str:
    return (
        f"\nThe secret half is in {file}: let it belong to the user that the daemon runs as, and name it in the\n"
        "settings as `curve` (a publisher's as `bus.curve`, a relay's own bus as `relay.curve`). The line above, also\n"
        f"in {file}.pub, is for others:\n"
        "  a publisher's: subscribers write it in subscriber.yaml, as upstreams.NAME.curve\n"
        "  a subscriber's: a private publisher adds it to authorized_nodes, with the node's name behind the key"
    )
