"""The networks in the table of `descriptors.backbones`."""
