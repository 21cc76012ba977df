"""``pushmirror explain``: what a subscriber would do with a message. Runs nothing and changes nothing."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pushmirror.errors import MalformedMessage, UsageError

if TYPE_CHECKING:
    from pushmirror.cli.explain_ledger import Look
    from pushmirror.cli.explain_plan import Plan, Run
    from pushmirror.cli.explain_verdict import Verdict
    from pushmirror.core.model import ChangeList, Heartbeat, Update
    from pushmirror.settings.subscriber import SubscriberSettings

_SHOWN_ENTRIES = 10


@click.command("explain")
@click.argument("message", metavar="MESSAGE.json|-")
@click.option("--list", "list_file", metavar="FILE", help="The change list, when it does not travel in the message.")
@click.option("--ignore-ledger", is_flag=True, help="As if the subscriber were in step up to the update before.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@click.option(
    "--config", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The subscriber's settings."
)
def explain(message: str, list_file: str | None, ignore_ledger: bool, as_json: bool, config: Path) -> None:
    """Show what a subscriber would do with a message: whether it believes it, what it means, and each rsync command.

    The message is the JSON object as it travels on the bus, or a line of `pushmirror tail --json`. Nothing is run, and
    nothing is changed.
    """
    from pushmirror.cli.explain_ledger import Look, look_at_ledger
    from pushmirror.cli.explain_verdict import MAX_FILE_BYTES, judge_message
    from pushmirror.core.lists import MAX_LIST_BYTES
    from pushmirror.settings.load import load_subscriber

    settings = load_subscriber(config)
    body = _read(message, MAX_FILE_BYTES)
    listed = None if list_file is None else _read(list_file, MAX_LIST_BYTES)
    ignored = contextlib.nullcontext(Look(None, "the ledger is ignored"))
    with ignored if ignore_ledger else look_at_ledger(settings.state_dir) as look:
        explanation = _explain(judge_message(body, settings, look.ledger), listed, settings, look)
    if as_json:
        click.echo(json.dumps(explanation, indent=2))
    else:
        click.echo("\n".join(_format(explanation)))


def _read(name: str, limit_bytes: int) -> bytes:
    try:
        if name == "-":
            return sys.stdin.buffer.read(limit_bytes + 1)
        with open(name, "rb") as file:
            return file.read(limit_bytes + 1)
    except OSError as error:
        raise UsageError(f"{name}: cannot be read ({error.strerror})") from error


def _explain(verdict: Verdict, listed: bytes | None, settings: SubscriberSettings, look: Look) -> dict[str, Any]:
    from pushmirror.core.model import Update
    from pushmirror.monitor.text import describe

    explanation: dict[str, Any] = {
        "message": None if verdict.kind is None else describe(verdict.kind, verdict.msg),
        "verdict": verdict.verdict,
        "cause": verdict.cause,
        "reason": verdict.reason,
    }
    if verdict.content is None:
        return explanation
    if isinstance(verdict.content, Update):
        return explanation | _explain_update(verdict.content, listed, look, settings)
    return explanation | {"notes": list(_explain_heartbeat(verdict.content, look, settings))}


def _explain_update(update: Update, listed: bytes | None, look: Look, settings: SubscriberSettings) -> dict[str, Any]:
    from pushmirror.cli.explain_plan import make_plan
    from pushmirror.subscriber.parts import make_parts

    parts = make_parts(update.tree, settings.trees[update.tree], settings.state_dir / "locks")
    record = look.record(update.tree)
    plan = make_plan(update, _find_changes(update, listed), parts, look.ledger, record)
    upstream = settings.upstreams[update.publisher]
    service = upstream.service or next(relay.service for relay in upstream.relays.values())
    return {
        "tree": update.tree,
        "scope": plan.scope,
        "tracking": None if plan.verdict is None else plan.verdict.value,
        "ledger": _show_ledger(look, update.tree),
        "notes": _notes(plan, update, look, service),
        "commands": [_show_run(settings.rsync, run) for run in plan.runs],
    }


def _notes(plan: Plan, update: Update, look: Look, service: str) -> list[str]:
    notes = list(plan.notes)
    if look.missing is not None:
        notes.insert(0, f"{look.missing}: this is for a subscriber that is in step up to serial {update.previous}")
    if plan.scope == "list" and not plan.runs and update.changes is None and update.list_digest is not None:
        url = f"{service}/v1/trees/{update.tree}/lists/{update.list_digest}"
        notes.append(f"to see the commands: curl -fo list.json {url}, then explain again with --list list.json")
    return notes


def _find_changes(update: Update, listed: bytes | None) -> ChangeList | None:
    from pushmirror.core.lists import MAX_LIST_BYTES, list_digest, parse_changes
    from pushmirror.core.wire import parse_object

    if listed is None or update.changes is not None:
        return update.changes
    try:
        changes = parse_changes(parse_object(listed, max_bytes=MAX_LIST_BYTES))
    except MalformedMessage as error:
        raise UsageError(f"the file of --list is not a change list: {error}") from error
    if list_digest(changes) != update.list_digest:
        raise UsageError("the file of --list is not the list of this message: its digest is another")
    return changes


def _explain_heartbeat(heartbeat: Heartbeat, look: Look, settings: SubscriberSettings) -> Iterator[str]:
    from pushmirror.core.tracking import judge_head

    if look.missing is not None:
        yield f"{look.missing}: there is nothing to compare with"
        return
    for tree, found in settings.trees.items():
        head = heartbeat.trees.get(tree) if found.upstream == heartbeat.publisher else None
        if head is not None:
            record = look.record(tree)
            verdict = judge_head(None if record is None else record.head, head)
            yield f"{tree}: the publisher is at serial {head.serial}: {verdict.value}"


def _show_ledger(look: Look, tree: str) -> dict[str, Any] | None:
    record = look.record(tree)
    if record is None:
        return None
    return {
        "epoch": record.head.epoch if record.head else None,
        "announced": record.announced,
        "applied": record.applied,
        "cleaned": record.cleaned,
    }


def _show_run(program: str, run: Run) -> dict[str, Any]:
    from pushmirror.core.paths import shorten

    entries = run.command.listing.split(b"\0")[:-1]
    return {
        "stage": run.stage.value,
        "purpose": run.purpose,
        "arguments": [program, *run.command.arguments],
        "entries": len(entries),
        "first_entries": [shorten(entry) for entry in entries[:_SHOWN_ENTRIES]],
    }


def _format(explanation: dict[str, Any]) -> Iterator[str]:
    if explanation["message"] is not None:
        yield f"message:  {explanation['message']}"
    counted = f" (counted as {explanation['cause']})" if explanation["cause"] else ""
    yield f"verdict:  {explanation['verdict']}: {explanation['reason']}{counted}"
    ledger = explanation.get("ledger")
    if ledger is not None:
        yield f"ledger:   announced {ledger['announced']}, applied {ledger['applied']}, cleaned {ledger['cleaned']}"
    if "scope" in explanation:
        yield f"scope:    {explanation['scope']}"
    for note in explanation.get("notes", ()):
        yield f"  - {note}"
    for number, command in enumerate(explanation.get("commands", ()), start=1):
        yield from _format_command(number, command)
    yield "Nothing was run."


def _format_command(number: int, command: dict[str, Any]) -> Iterator[str]:
    yield f"\n{number}. {command['stage']}: {command['purpose']}"
    yield f"   {shlex.join(command['arguments'])}"
    if command["entries"]:
        yield f"   on its standard input, NUL-separated, {command['entries']} entries:"
        yield from (f"     {entry}" for entry in command["first_entries"])
        if command["entries"] > len(command["first_entries"]):
            yield f"     and {command['entries'] - len(command['first_entries'])} more"
