"""The `zonelock` command line: run a coordinator, look at a floor, stop, reset, clear, and hold zones around a command.

Rules owned here: tables on a terminal and one JSON document elsewhere (`output`), one table of exit codes (`exits`),
every failure ends in what to try (`failures`), and nothing heavy is imported before the command that needs it runs
(`main`). Speaks to coordinators through `zonelock.v1` and `zonelock_client` only. Imports `coordinator.floor` for floor
files and the public table of refusals; `serve` and `config` alone, lazily, the coordinator itself. Never its core
machine, store or RPC.
"""
