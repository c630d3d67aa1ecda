"""What the commands of `locum` ask of a running server, over a socket in the data directory."""
