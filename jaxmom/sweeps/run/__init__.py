"""Running chunks: the driver loop, executors and the progress bar."""
