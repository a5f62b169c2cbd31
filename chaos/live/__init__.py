"""Faults on real processes: agents at work with their own books, and relays that hold up or break what passes."""
