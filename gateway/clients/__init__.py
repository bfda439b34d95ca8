"""Know the OAuth clients, prove who they are and what they may ask for."""
