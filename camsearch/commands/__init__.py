"""One module a command; each composes the other packages and prints."""
