"""Which trees this node hands on, by its settings. Looked at by every node, also by one that is no relay."""

from __future__ import annotations

from pushmirror.settings.subscriber import SubscriberSettings
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.relay.copies import Copies


def make_copies(settings: SubscriberSettings, ledger: Ledger) -> Copies:
    """Return what this node hands on: nothing when its settings have no ``relay``."""
    trees = relayed_trees(settings)
    filtered = [name for name in trees if settings.trees[name].include or settings.trees[name].exclude]
    return Copies(ledger, ledger.kept, {name: settings.trees[name].upstream for name in trees}, filtered)


def relayed_trees(settings: SubscriberSettings) -> tuple[str, ...]:
    """Return the trees that the operator wants to be handed on."""
    if settings.relay is None:
        return ()
    return tuple(settings.trees) if settings.relay.trees is None else settings.relay.trees


def kept_trees(settings: SubscriberSettings) -> frozenset[str]:
    """Return the trees of which applied updates are kept: to be handed on, or because a relay may be read."""
    below = [name for name, tree in settings.trees.items() if settings.upstreams[tree.upstream].relays]
    return frozenset((*relayed_trees(settings), *below))
