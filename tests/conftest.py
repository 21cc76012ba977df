"""What all tests share: the ``--full`` option and hypothesis' profiles."""

from __future__ import annotations

import signal

import hypothesis
import pytest

LONGEST = ("test_property.py",)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--full``: the counts that take minutes, and the tests marked ``full``."""
    parser.addoption("--full", action="store_true", help="the large counts, and the tests marked 'full'")


def pytest_configure(config: pytest.Config) -> None:
    """Let hypothesis try more under ``--full``; no deadline per example, since test machines are shared.

    What a shell starts in the background ignores SIGINT, and would hand that on to the programs under test.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    hypothesis.settings.register_profile("default", deadline=None, max_examples=50, print_blob=True)
    hypothesis.settings.register_profile("full", deadline=None, max_examples=2000, print_blob=True)
    hypothesis.settings.load_profile("full" if config.getoption("--full") else "default")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest, and leave out the tests marked ``full`` unless ``--full`` asks for them.

    With several processes a long file that comes last would keep one of them busy while the others have nothing to do.
    """
    items.sort(key=lambda item: (item.path.name not in LONGEST, item.get_closest_marker("slow") is None))
    if config.getoption("--full"):
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the counts that an issue names are wanted, instead of reduced ones."""
    return bool(request.config.getoption("--full"))
