"""The way of images into a gallery."""
