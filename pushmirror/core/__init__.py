"""Decisions without I/O: nothing here opens a file, reads a clock, draws a random number or talks to anybody."""
