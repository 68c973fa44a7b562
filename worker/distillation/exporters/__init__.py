"""One file an export format; the name in the spec is the name of the file."""
