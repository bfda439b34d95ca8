"""Hold signing keys; sign, parse and judge JSON Web Tokens."""
