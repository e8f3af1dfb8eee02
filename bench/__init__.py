"""Measures what users feel."""
