"""Use cases, one transaction each, free of HTTP."""
