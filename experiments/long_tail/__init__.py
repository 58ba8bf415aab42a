"""What does CLP need on a long tail, and what does Omega learn there?"""
