"""Benchmarks: each module's `run()` returns rows that are printed side by side and kept as JSON."""
