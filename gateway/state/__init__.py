"""Remember what must outlive a request: what was revoked, and what may be used only once."""
