"""What every tool of the package uses: settings, terminal, memory, files."""
