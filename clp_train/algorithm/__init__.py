"""Algorithm 1 as a library: torch and numpy, no files, no command line. An own loop needs only this package."""
