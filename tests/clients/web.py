"""A small web server over a folder: as slow as a link far away, and it remembers what it could not hand out."""

from __future__ import annotations

import functools
import sys
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

BYTES_PER_SECOND = 2_000_000
BLOCK_BYTES = 20_000


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections, as the servers of mirrors do
    disable_nagle_algorithm = True  # the head and the body are two writes: the second would wait for the first
    server: _Server

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send a file at the speed of a link: at that of loopback, little would happen while a client reads."""
        while block := source.read(BLOCK_BYTES):
            outputfile.write(block)
            time.sleep(len(block) / BYTES_PER_SECOND)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self.server.refused.append(f"{int(code)} {self.path}")
        super().send_error(code, message, explain)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler: Any) -> None:
        self.refused: list[str] = []
        super().__init__(("127.0.0.1", 0), handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about a client that has gone."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class WebServer:
    """Serves `folder` on a free port of loopback, in a ``with`` block; symbolic links in it are followed."""

    def __init__(self, folder: Path) -> None:
        self._server = _Server(functools.partial(_Handler, directory=str(folder)))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> WebServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take_refused(self) -> list[str]:
        """Return the requests that were answered by an error since the last call, each as ``CODE PATH``."""
        refused, self._server.refused = self._server.refused, []
        return refused
