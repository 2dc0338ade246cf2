"""The networks, a file each or a row of one: `descriptors.backbones` is their table."""
