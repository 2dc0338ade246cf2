"""What made a hit match."""
