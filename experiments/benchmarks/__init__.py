"""Speed, measured side by side in one run; each is a command that anyone can rerun."""
