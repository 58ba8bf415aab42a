"""Algorithm 1 as a library: torch and numpy, no files, no command line. An own training loop needs this room only."""
