"""The UNIX control socket that both daemons have, and the client that asks on it."""
