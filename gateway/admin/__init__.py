"""Answer operators: health, metrics, status, reload."""
