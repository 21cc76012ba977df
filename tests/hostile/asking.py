"""An attacker as a program, who asks the HTTP service of a publisher from many addresses at once.

``python -m tests.hostile.asking FILE``; the file has its orders as JSON. Prints how many requests were sent, and how
many answers came to them by their status.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pushmirror.core.messages import UPDATED, format_report, report_kind, topic
from pushmirror.core.model import Event, Report
from pushmirror.core.wire import MAX_INTEGER, attach, compose
from pushmirror.keys import PrivateKey, load_private_key, seal

PER_CONNECTION = 20
PATIENCE_S = 5.0
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
_LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def requests(orders: dict[str, Any]) -> Iterator[bytes]:
    """Yield requests of every sort, each of which is whole or breaks its connection off."""
    tree = f"/v1/trees/{orders['tree']}"
    for target in (
        f"{tree}?nonce=12345678", f"{tree}/updates?epoch={orders['epoch']}&after=0",
        f"{tree}/updates?epoch={orders['epoch']}&after={MAX_INTEGER + 1}", f"{tree}/updates?epoch=1-0&after=0",
        f"{tree}/lists/{'0' * 64}", f"{tree}/lists/..", "/v1/trees/..%2f..?nonce=12345678",
        "/v1/trees/unknown?nonce=12345678", "/", "//", "/v1/reports", "/" + "x" * 8000,
    ):  # fmt: skip
        yield f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    stranger, node = load_private_key(Path(orders["stranger"])), load_private_key(Path(orders["node_key"]))
    for body in (b"", b"[" * 10_000, b'{"a":' * 2000, os.urandom(2000), *_reports(orders, stranger, node)):
        yield _post("/v1/reports", body)
        yield _post("/v1/headers", body)
    yield _post("/v1/headers", b"[" * 60_000)
    yield _post("/v1/reports", b"x" * 30_000)
    yield os.urandom(500) + b"\r\n\r\n"
    yield b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * 400 + b"\r\n"
    yield (
        b"POST /v1/reports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"1\r\nx\r\n" * 500
        + b"0\r\n\r\n"
    )


def _post(target: str, body: bytes) -> bytes:
    return f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _reports(orders: dict[str, Any], stranger: PrivateKey, node: PrivateKey) -> Iterator[bytes]:
    """Yield reports by a stranger and forged ones, and by a node that is listed, which says what it may not."""
    honest = Report(Event.COMPLETED, orders["node"], orders["publisher"], orders["tree"], orders["epoch"], 1, 1, "list")
    kind = report_kind(honest.event)
    signed = _compose(kind, format_report(honest), orders)
    yield signed
    yield seal(signed, stranger)
    yield attach(signed, stranger.sign(signed), node.public.line)
    for replaced in ({"node": "t9.example.net"}, {"tree": "unknown"}, {"applied": MAX_INTEGER + 1}, {"scope": "x"},
                     {"publisher": "another"}, {"reason": "x" * 5000}):  # fmt: skip
        yield seal(_compose(kind, {**format_report(honest), **replaced}, orders), node)
    yield seal(_compose(UPDATED, format_report(honest), orders), node)


def _compose(kind: str, msg: dict[str, Any], orders: dict[str, Any]) -> bytes:
    return compose(
        topic("org.example", "test", kind), msg, msg_id="1", at_ms=1_795_338_260_123, counter=1, username=orders["node"]
    )


def ask(orders: dict[str, Any], pool: list[bytes], number: int) -> Counter[str]:
    """Send as many requests as one connection is to have, and read all answers; return how many of each there were."""
    chance = random.Random(number)
    sent = [chance.choice(pool) for _ in range(PER_CONNECTION - 1)]
    counted = Counter({"sent": PER_CONNECTION})
    answered = bytearray()
    with contextlib.suppress(OSError), socket.socket() as connection:
        connection.settimeout(PATIENCE_S)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.bind((f"127.0.0.{10 + number % orders['addresses']}", 0))
        connection.connect(("127.0.0.1", orders["port"]))
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"".join(sent) + _LAST)
        while piece := connection.recv(65536):
            answered += piece
    counted.update(match.decode() for match in _STATUS.findall(answered))
    return counted


def main(orders: dict[str, Any]) -> None:
    pool, total, number = list(requests(orders)), Counter[str](), 0
    started = time.monotonic()
    with ThreadPoolExecutor(orders["connections"]) as threads:
        while total["sent"] < orders["count"]:
            batch = range(number, number + orders["connections"])
            for counted in threads.map(lambda each: ask(orders, pool, each), batch):
                total.update(counted)
            number += orders["connections"]
            time.sleep(max(0.0, started + total["sent"] / orders["rate"] - time.monotonic()))
    print(json.dumps(total))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
