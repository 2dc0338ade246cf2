"""The endpoints below ``/_camsearch``."""
