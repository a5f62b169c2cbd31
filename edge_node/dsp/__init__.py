"""From a window of samples to features, and from features to anomalies.

Everything here is vectorised over channels, pure (no clock, no files) and exact about its definitions: each docstring
gives the formula and where it comes from.
"""
