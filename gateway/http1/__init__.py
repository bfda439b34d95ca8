"""Read and write HTTP/1.1 heads and framing strictly, without I/O."""
