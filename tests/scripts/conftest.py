"""The programs of this folder are run by tests, in processes of their own."""

collect_ignore_glob = ["*.py"]
