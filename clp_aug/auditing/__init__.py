"""The shard of an audit: each picture whole, its object alone, its background alone, its object on other
backgrounds.
"""
