"""From a function to compiled programs: tracing, layouts, autotuning, identity and memory."""
