"""The whole thing on one machine: a Tier 1, its mirrors, a change, and the proof that it arrived."""
