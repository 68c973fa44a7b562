"""One file a source or format of data; the name in the spec is the name of the file."""
