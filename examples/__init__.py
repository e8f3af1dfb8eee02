"""Real workflows and workers."""
