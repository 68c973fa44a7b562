"""One module per resource: signature, one call, response."""
