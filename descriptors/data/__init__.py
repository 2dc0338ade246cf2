"""The whitening of the default preset, fitted and ready."""
