"""What lifts the worst group of waterbirds_like, and what keeps CLP from it?"""
