"""From a function to compiled programs: tracing, outputs, autotuning, identity and memory."""
