"""What the whole job costs, from a million pictures to a finished run: measured, derived and simulated."""
