"""Measure the gate beside its peers."""
