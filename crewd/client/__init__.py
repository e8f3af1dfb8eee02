"""What people and programs hold: the Python clients (blocking and async) and the `crew` command.

Rule 1: this room talks the protocol and starts nothing but the daemon. It never imports the supervisor or the store.
Rule 2: every request has an id and may be sent twice: what crewd admits once it admits once.
"""
