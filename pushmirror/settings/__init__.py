"""Settings files: YAML to frozen values, with every fault reported at once, each with its file, line and key."""
