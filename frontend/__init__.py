"""The HTTP operations API, the processes that serve it, and the command line."""
