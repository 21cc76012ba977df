"""What the program's tables are made of: their style, and values of an answer as harmless text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from pushmirror.logs import escape
from pushmirror.monitor.quantities import UNKNOWN

Answer = Mapping[str, Any]

STYLES = {
    "connected": "green",
    "idle": "green",
    "done": "green",
    "ready": "green",
    "completed": "green",
    "running": "cyan",
    "started": "cyan",
    "queued": "cyan",
    "connecting": "yellow",
    "waiting": "yellow",
    "paused": "yellow",
    "held": "yellow",
    "behind": "yellow",
    "unknown": "yellow",
    "interrupted": "yellow",
    "silent": "bold red",
    "failed": "bold red",
    "failing": "bold red",
}


def make_table(title: str, *columns: str, right: Iterable[str] = ()) -> Table:
    """Return an empty table in the program's style; the columns in `right` hold numbers."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        collapse_padding=True,
    )
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def show_state(state: object) -> Text:
    """Return the word for a state, coloured."""
    word = show_value(state)
    return Text(word, STYLES.get(word, ""))


def show_value(value: object) -> str:
    """Return a value of an answer as harmless text."""
    return UNKNOWN if value is None else escape(str(value))


def show_lines(lines: Iterable[str], style: str = "yellow") -> Text:
    """Return remarks below a table, one a line."""
    return Text("\n".join(lines), style)


def find_group(answer: Answer, key: str) -> Mapping[str, Answer]:
    """Return the group at `key` of an answer, which is empty when it is missing or something else."""
    value = answer.get(key)
    return value if isinstance(value, Mapping) else {}


def show_serial(serial: object) -> str:
    """Return a serial as text; a negative one stands for none at all: the first sync is still to come."""
    return UNKNOWN if isinstance(serial, int) and serial < 0 else show_value(serial)
