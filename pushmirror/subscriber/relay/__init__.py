"""A subscriber as a relay: the origin's signed updates handed on, as far as they are in place here."""
