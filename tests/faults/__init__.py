"""Real child processes that fail in chosen ways."""
