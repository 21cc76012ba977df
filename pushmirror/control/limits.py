"""The bounds of the control protocol, which both of its ends keep: one JSON line asked, one JSON line answered."""

from __future__ import annotations

MAX_REQUEST_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_CONNECTIONS = 64
IDLE_TIMEOUT_SECONDS = 10.0
