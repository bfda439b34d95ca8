"""Decide, without I/O, whether one request may pass."""
