"""Tier 2: listens to its upstreams, keeps a ledger of what its trees hold, and runs rsync."""
