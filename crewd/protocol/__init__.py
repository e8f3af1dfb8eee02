"""What travels: envelopes, message types, codecs, versions, receipts, reasons, errors.

Rule 1: this room touches nothing: no socket, clock, disk or thread. Bytes and text in, values out.
Rule 2: every value is frozen and small; nothing here knows who sends or stores it.
What does not fit here: who may do what when (see `supervisor`), where it is kept (see `store`).
"""
