"""Show the product at work: a resource service, a configuration and a journey to paste."""
