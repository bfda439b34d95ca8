"""Turn YAML files into frozen settings, naming every mistake at once."""
