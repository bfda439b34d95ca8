"""Sidegate: an OAuth 2.0 token issuer and an enforcing reverse proxy in one process."""
