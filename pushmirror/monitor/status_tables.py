"""The answer of a daemon to ``status`` as tables. Reads the answer leniently, so that versions may differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pushmirror.logs import escape
from pushmirror.monitor.quantities import UNKNOWN, format_bytes, format_count, format_duration_ms
from pushmirror.monitor.source_tables import list_relays, show_handing_on, show_sources
from pushmirror.monitor.tables import (
    Answer,
    find_group,
    make_table,
    show_lines,
    show_serial,
    show_state,
    show_value,
)
from pushmirror.monitor.trust_remarks import remark_on_signing, remark_on_trust


def show_status(answer: Answer, now_s: int) -> RenderableType:
    """Return the status of either daemon; `now_s` is the time, in seconds since the epoch."""
    if answer.get("role") == "publisher":
        return Group(*_show_publisher(answer, now_s))
    return Group(*_show_subscriber(answer, now_s))


def show_ago(at_s: object, now_s: int) -> str:
    """Return how long ago a time in seconds since the epoch was."""
    if not isinstance(at_s, int):
        return "never"
    seconds = max(0, now_s - at_s)
    # Such times are whole seconds: no more is told than is known.
    return f"{seconds} s ago" if seconds < 60 else f"{format_duration_ms(seconds * 1000)} ago"


# --- the subscriber


def _show_subscriber(answer: Answer, now_s: int) -> Iterable[RenderableType]:
    yield Text(f"subscriber {show_value(answer.get('node'))}, pushmirror {show_value(answer.get('version'))}\n")
    yield _show_upstreams(find_group(answer, "upstreams"))
    yield Text()
    trees = find_group(answer, "trees")
    yield _show_mirrored(trees, now_s)
    for table in (show_sources(trees), show_handing_on(trees)):
        if table is not None:
            yield Text()
            yield table
    under_way = {name: tree["progress"] for name, tree in trees.items() if isinstance(tree.get("progress"), Mapping)}
    if under_way:
        yield Text()
        yield _show_progress(under_way)
    warnings = find_group(answer, "rsync").get("warnings")
    remarks = [escape(str(warning)) for warning in warnings] if isinstance(warnings, list) else []
    remarks += [line for name, tree in trees.items() for line in _remark(name, tree, now_s)]
    remarks += remark_on_trust(answer, now_s)
    if remarks:
        yield show_lines(remarks)


def _show_upstreams(upstreams: Mapping[str, Answer]) -> Table:
    table = make_table("Upstreams", "name", "state", "last heard", "dropped", right=("dropped",))
    for name, upstream in upstreams.items():
        _add_heard(table, show_value(name), upstream)
        for relay, heard in list_relays(upstream):
            _add_heard(table, f"  relay {show_value(relay)}", heard)
    return table


def _add_heard(table: Table, name: str, heard: Answer) -> None:
    heard_ms = heard.get("last_heard_ms")
    ago = "never" if heard_ms is None else f"{format_duration_ms(heard_ms)} ago"
    table.add_row(name, show_state(heard.get("state")), ago, _show_dropped(heard))


def _show_dropped(upstream: Answer) -> str:
    counts = {
        cause: count for cause, count in find_group(upstream, "dropped").items() if isinstance(count, int) and count
    }
    causes = ", ".join(f"{escape(cause)} {count}" for cause, count in counts.items())
    return f"{sum(counts.values())} ({causes})" if causes else "0"


def _show_mirrored(trees: Mapping[str, Answer], now_s: int) -> Table:
    numbers = ("announced", "applied", "cleaned", "pending")
    table = make_table("Trees", "name", "state", *numbers, "last sync", right=numbers)
    for name, tree in trees.items():
        serials = [show_serial(tree.get(key)) for key in ("announced", "applied", "cleaned")]
        last = _show_last_sync(tree.get("last_sync"), now_s)
        table.add_row(show_value(name), show_state(tree.get("state")), *serials, _show_pending(tree), last)
    return table


def _show_progress(under_way: Mapping[str, Answer]) -> Table:
    """What the running jobs have done of what there is to do, as far as rsync knows that."""
    table = make_table("Running jobs", "tree", "done", "bytes", "files", right=("bytes", "files"))
    for name, progress in under_way.items():
        done, total = _number(progress.get("bytes_done")), _number(progress.get("bytes_total"))
        looked_at, entries = _number(progress.get("files_done")), _number(progress.get("files_total"))
        table.add_row(
            show_value(name),
            ProgressBar(total=max(1, total or 1), completed=min(done or 0, total or 0), width=30),
            f"{format_bytes(done)} of {UNKNOWN if total is None else format_bytes(total)}",
            f"{looked_at or 0} of {UNKNOWN if entries is None else entries}",
        )
    return table


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _show_pending(tree: Answer) -> str:
    paths, deletions = tree.get("pending_paths") or 0, tree.get("pending_deletions") or 0
    return f"{paths} + {deletions} del" if deletions else str(paths)


def _show_last_sync(last: object, now_s: int) -> Text:
    if not isinstance(last, Mapping):
        return Text("none yet")
    duration = format_duration_ms(last.get("duration_ms"))
    lag = "" if last.get("lag_ms") is None else f", lag {format_duration_ms(last['lag_ms'])}"
    volume = f"{format_count(last.get('files'), 'file')}, {format_bytes(last.get('bytes'))}"
    text = f" {show_ago(last.get('finished'), now_s)}: {show_value(last.get('scope'))}, {volume} in {duration}{lag}"
    return Text.assemble(show_state(last.get("outcome")), text)


def _remark(name: str, tree: Answer, now_s: int) -> Iterable[str]:
    busy_until = _number(tree.get("upstream_busy_until"))
    if busy_until is not None and busy_until > now_s:
        wait = format_duration_ms((busy_until - now_s) * 1000)
        yield f"{escape(name)}: its upstream is updating it; nothing new starts for {wait} at most"
    if tree.get("reason"):
        yield f"{escape(name)}: {show_value(tree['reason'])}"
    unannounced = _number(find_group(tree, "unannounced").get("last"))
    if unannounced:
        found = format_count(unannounced, "path")
        yield f"{escape(name)}: the last full sync found {found} that no announcement had told of"
    held = tree.get("held")
    if isinstance(held, Mapping):
        count = format_count(held.get("deletions"), "deletion")
        advice = f"look at them with: pushmirror approve {escape(name)}"
        yield f"{escape(name)}: {count} held: {show_value(held.get('reason'))}; {advice}"
    refused = _number(tree.get("refused_deletions"))
    if refused:
        yield f"{escape(name)}: {format_count(refused, 'path')} kept that the upstream does not have, as refused"
    incomplete = tree.get("incomplete")
    if isinstance(incomplete, list) and incomplete:
        what = format_count(len(incomplete), "path")
        yield f"{escape(name)}: the upstream does not let us read {what}, the first is {show_value(incomplete[0])}"


# --- the publisher


def _show_publisher(answer: Answer, now_s: int) -> Iterable[RenderableType]:
    head = f"publisher {show_value(answer.get('name'))}, pushmirror {show_value(answer.get('version'))}"
    places = f"bus {show_value(answer.get('endpoint'))}, service {show_value(answer.get('service'))}"
    yield Text(f"{head}\n{places}\n")
    trees, nodes = find_group(answer, "trees"), find_group(answer, "nodes")
    yield _show_published(trees, now_s)
    history = find_group(answer, "history")
    if history:
        yield _show_history(history)
    detectors = {name: tree["detection"] for name, tree in trees.items() if isinstance(tree.get("detection"), Mapping)}
    troubles = [line for name, detection in detectors.items() for line in _tell_trouble(name, detection)]
    if troubles:
        yield show_lines(troubles)
    signing = list(remark_on_signing(answer, now_s))
    if signing:
        yield show_lines(signing)
    yield Text()
    if nodes:
        yield _show_nodes(nodes, trees, now_s)
    else:
        yield Text("No node has reported yet.")
    refused = find_group(find_group(answer, "reports"), "refused")
    if refused:
        causes = ", ".join(f"{escape(cause)} {show_value(count)}" for cause, count in refused.items())
        yield show_lines([f"refused reports: {causes}"])


def _tell_trouble(name: str, detection: Answer) -> Iterable[str]:
    for key in ("error", "problems"):
        found = detection.get(key)
        for text in found if isinstance(found, list) else [found] if found else []:
            yield f"{escape(name)}: {show_value(text)}"


def _show_published(trees: Mapping[str, Answer], now_s: int) -> Table:
    numbers = ("serial", "sent", "kept from")
    table = make_table("Trees", "name", *numbers, "last announced", right=numbers)
    for name, tree in trees.items():
        at_ms = tree.get("last_announced_ms")
        announced = show_ago(at_ms // 1000 if isinstance(at_ms, int) else None, now_s)
        row = [show_value(tree.get(key)) for key in ("serial", "sent", "oldest")]
        table.add_row(show_value(name), *row, announced)
    return table


def _show_history(history: Answer) -> Text:
    """How much of what was announced is kept, and how often the journal was found to be a copy from before."""
    age = format_duration_ms(_number(history.get("age_ms")))
    kept = f"History: {format_bytes(_number(history.get('bytes')))}, its oldest update {age} old"
    proofs = _number(history.get("proofs"))
    if not proofs:
        return Text(kept)
    return Text(f"{kept}; the journal was found to be a copy from before {format_count(proofs, 'time')}", "yellow")


def _show_nodes(nodes: Mapping[str, Answer], trees: Mapping[str, Answer], now_s: int) -> Table:
    numbers = ("applied", "cleaned", "lag")
    table = make_table("Nodes", "node", "tree", *numbers, "last report", right=numbers)
    for node, reports in sorted(nodes.items()):
        for tree, report in sorted(reports.items()):
            received_ms = report.get("received_ms")
            ago = show_ago(received_ms // 1000 if isinstance(received_ms, int) else None, now_s)
            table.add_row(
                show_value(node),
                show_value(tree),
                _show_applied(trees.get(tree, {}).get("serial"), report.get("applied")),
                show_serial(report.get("cleaned")),
                format_duration_ms(report.get("lag_ms")),
                Text.assemble(show_state(report.get("event")), f" {ago}"),
            )
    return table


def _show_applied(serial: object, applied: object) -> Text:
    """What a node has applied, with how far that is behind the newest serial."""
    if not isinstance(serial, int) or not isinstance(applied, int):
        return Text(show_serial(applied))
    if applied >= serial:
        return Text(str(applied), "green")
    return Text(f"{show_serial(applied)} ({serial - max(0, applied)} behind)", "yellow")
