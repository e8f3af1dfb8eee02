"""What travels: envelopes, codecs, requests and replies, reports of workers, the guardian's frames.

Rule 1: this room touches nothing: no socket, clock, disk or thread. Bytes in, values out.
Rule 2: a receiver checks each value here (`doors`), before anything else happens with it.
What does not fit here: the values themselves (see `model`), and the sockets that carry them (see `client`, `supervisor`).
"""
