"""Where a subscriber reads its trees, and which of them it hands on, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.table import Table
from rich.text import Text

from pushmirror.monitor.tables import Answer, make_table, show_serial, show_state, show_value


def show_sources(trees: Mapping[str, Answer]) -> Table | None:
    """Return the sources of `trees` in order of preference, with what keeps one from being used.

    Trees are left out whose one source is as it should be. Returns None when that holds for all.
    """
    chosen = {name: sources for name, tree in trees.items() if _is_worth_showing(sources := _find_sources(tree))}
    if not chosen:
        return None
    table = make_table("Sources", "tree", "source", "state")
    for name, sources in chosen.items():
        for place, source in enumerate(sources):
            shown = Text("" if place else show_value(name))  # a Text, so that no bracket in it is taken for markup
            url = Text(show_value(source.get("url")))
            table.add_row(shown, url, _show_source(source, trees[name].get("source")))
    return table


def show_handing_on(trees: Mapping[str, Answer]) -> Table | None:
    """Return up to which serial each of `trees` is handed on, or why not; None when none of them is meant to be."""
    relayed = {name: tree["relay"] for name, tree in trees.items() if isinstance(tree.get("relay"), Mapping)}
    if not relayed:
        return None
    numbers = ("up to", "cleaned")
    table = make_table("Handed on", "tree", *numbers, "if not, why", right=numbers)
    for name, relay in relayed.items():
        reason = relay.get("reason")
        serials = [show_serial(relay.get(key)) for key in ("serving", "cleaned")]
        table.add_row(Text(show_value(name)), *serials, Text("" if reason is None else show_value(reason), "yellow"))
    return table


def list_relays(upstream: Answer) -> Iterable[tuple[str, Answer]]:
    """Yield each relay of an upstream that is listened to: its name, and what is told of it."""
    relays = upstream.get("relays")
    for name, relay in relays.items() if isinstance(relays, Mapping) else ():
        if isinstance(relay, Mapping):
            yield str(name), relay


def _find_sources(tree: Answer) -> list[Answer]:
    sources = tree.get("sources")
    return [source for source in sources if isinstance(source, Mapping)] if isinstance(sources, list) else []


def _is_worth_showing(sources: list[Answer]) -> bool:
    return len(sources) > 1 or any(source.get("state") != "ready" or source.get("reason") for source in sources)


def _show_source(source: Answer, used: object) -> Text:
    """What is known of a source. The one in use is the one that was read last."""
    in_use = ", in use" if used is not None and source.get("url") == used else ""
    reason = f": {show_value(source['reason'])}" if source.get("reason") else ""
    return Text.assemble(show_state(source.get("state")), in_use, reason)
