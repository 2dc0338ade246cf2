"""What stands below ``/_camsearch``, for people, probes and scripts."""
