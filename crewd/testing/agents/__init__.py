"""Stand-ins for AI coding agents: programs that speak an agent's protocol as it does, with its bad manners, by a script.

`python -m crewd.testing.agents pi|omp|claude|codex|acp` is one. What it is asked decides what it does (see `script.py`), so a
test writes its script into the goal. They know nothing of crewd: what they say was recorded from the real programs.

What fits here: the script, and one program for each protocol.
"""
