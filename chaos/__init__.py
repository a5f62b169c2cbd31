"""Trying to break zonelock: a seeded simulator, checkers of recorded histories, and planted bugs that prove them."""
