"""Benchmark data sets: each a folder layout and its scoring protocol."""
