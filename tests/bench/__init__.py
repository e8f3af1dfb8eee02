"""Tests of the benchmarks: they must still measure what they name."""
