"""Looking on: the bus as readable lines, and the status of daemons as tables."""
