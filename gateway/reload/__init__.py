"""Follow the files that the process was started from: notice what changed, load it, swap it in."""
