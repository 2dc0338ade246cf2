"""The way of pictures into a gallery."""
