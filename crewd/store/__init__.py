"""The one owner of the one database: the event log, the rows folded from it, and the coalesced values.

Rule 1: all SQL stands in `database`; all writes pass through one actor (`actor`), all reads through read-only connections.
Rule 2: what was answered `Committed` is there after a crash; what was not may be there or not, but never half.
Rule 3: rows change by `fold` and by nothing else, in the transaction of the events that caused it.
What does not fit here: who may write what and when (see `supervisor`).
"""
