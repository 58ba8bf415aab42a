"""What several experiments share: tables of commands, searches in one process, packed pictures, a table of results."""
