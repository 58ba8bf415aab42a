"""Does the quality of the boxes reach the worst group?"""
