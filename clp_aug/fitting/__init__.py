"""How the shipped networks are fitted: generated pictures with known mattes, losses, the user's own data."""
