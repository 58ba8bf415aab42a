"""Algorithm 1 as a library: torch and numpy, no files, no command line. An own training loop imports this room alone."""
