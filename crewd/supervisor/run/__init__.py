"""A run: which task may start, what follows from an end (`decide`), and the actor that performs it."""
