"""Count, measure and log what happened, away from the hot path."""
