"""How the shipped networks are fitted: pictures with known mattes made on the fly, losses, the users' own data."""
