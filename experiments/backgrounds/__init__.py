"""Who should say what backgrounds tell, where a network starts from nothing?"""
