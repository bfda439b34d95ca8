"""Put load on a running Sidegate as its users would, and report how it held."""
