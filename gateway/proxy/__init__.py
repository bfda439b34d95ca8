"""Move bytes between callers and resource services under verdicts."""
