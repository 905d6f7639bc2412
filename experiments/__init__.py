"""Questions about momentum, one per file; each is a command and a module to import."""
