"""The reactor turned by hand, as for the bus, and a way to ask while it turns."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pushmirror.control.client import ask
from tests.support.reactor import Spin, reactor, spin

__all__ = ["reactor", "spin"]

Ask = Callable[..., dict[str, object]]


@pytest.fixture
def ask_while_turning(spin: Spin) -> Ask:
    """`ask` of the client, in a thread, while the reactor turns; returns or raises what it does."""

    def ask_and_turn(path: Path, request: dict[str, object], **options: Any) -> dict[str, object]:
        outcome: list[Any] = []

        def run() -> None:
            try:
                outcome.append(ask(path, request, **options))
            except Exception as error:
                outcome.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        spin(lambda: outcome)
        thread.join(10)
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        answer: dict[str, object] = outcome[0]
        return answer

    return ask_and_turn
