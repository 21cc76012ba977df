"""How messages travel: the interface, ZeroMQ in fedmsg's framing, and an in-process bus for tests."""
