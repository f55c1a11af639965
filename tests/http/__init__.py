"""The HTTP edge: what every request passes, and what is refused."""
