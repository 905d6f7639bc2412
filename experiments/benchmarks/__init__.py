"""Benchmarks: times measured side by side in one run, each by one command."""
