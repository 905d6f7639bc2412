"""Sweeps on disk: the files of a store, its writer, its lazy reader, and checkpoints."""
