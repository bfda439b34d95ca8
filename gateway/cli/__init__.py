"""Offer every command of `sidegate` (the contract's section 1)."""

from gateway.cli.main import main

__all__ = ["main"]
