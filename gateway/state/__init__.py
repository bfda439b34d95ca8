"""Remember what must outlive a request: revocations."""
