"""Types, checks, files and timing that every package uses."""
