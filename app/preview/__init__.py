"""A look at an untrusted file, in a process of its own that knows the standard library alone."""
