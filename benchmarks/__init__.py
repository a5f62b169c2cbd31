"""Measurements, run by `make bench`. Each prints raw figures and their ratio to a peer measured in the same run."""
