"""Breaking zonelock on purpose: a seeded simulator, planted bugs, and checkers over recorded histories."""
