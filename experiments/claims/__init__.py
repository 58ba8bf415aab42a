"""What README claims, made of the recorded results alone."""
