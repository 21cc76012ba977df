"""Tier 1: the journal of announcements, their way onto the bus, and the HTTP service that hands out history."""
