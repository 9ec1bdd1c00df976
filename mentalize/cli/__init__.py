"""The command line: `mentalize ask`, `chat`, `doctor` and the rest."""
