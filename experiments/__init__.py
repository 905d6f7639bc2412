"""Experiments: one question for each file, with its answer, its figure and its command."""
