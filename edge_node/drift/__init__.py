"""Sensors that measure the same quantity watch each other: biases, drifts, outliers, and the value itself."""
