"""One file a loss; the name in the spec is the name of the file."""
