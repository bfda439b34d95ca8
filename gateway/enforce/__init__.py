"""Turn one request head into one verdict."""
