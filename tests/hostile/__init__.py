"""Attacks: what hostile workers, clients and files try, and what they must not reach."""
