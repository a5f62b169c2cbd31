"""The coordinator. Its core can be compiled: whoever imports it gets the one that this process is to run."""

from coordinator.compiled import offer

offer()
