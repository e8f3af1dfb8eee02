"""The `crew` command: one module per group of verbs, each a thin shell round the blocking client."""
