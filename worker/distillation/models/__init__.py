"""One file an architecture family; the name in the spec is the name of the file."""
