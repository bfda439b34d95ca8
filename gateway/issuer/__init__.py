"""Issue, introspect and revoke tokens over HTTP."""
