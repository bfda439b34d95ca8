"""Find the client that gets a token, by each way to ask for one: a file per grant."""
