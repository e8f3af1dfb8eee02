"""crewd as an agent of the Agent Client Protocol, version 1: an editor as a window on a crew (`crew acp`, docs/acp.md)."""
