"""The fitted whitening of the default preset."""
