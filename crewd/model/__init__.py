"""What is: ids, statuses, rows, events, receipts, policies, workflows, messages' kinds, errors, limits, secrets.

Rule 1: this room touches nothing: no socket, clock, disk or thread. Text and values in, values out.
Rule 2: every value is frozen; nothing here knows who sends it or where it is stored.
What does not fit here: what travels between processes (see `protocol`), and who may do what when (see `supervisor`).
"""
