"""The seeded simulator: the whole system on virtual time, everything that can go wrong, one printed seed for all of it.

Theory of operation
-------------------
The coordinator (runtime, core, session streams, EtcdStore) and the SDK (sessions, holds, dead-man) run as shipped, as
simulated processes on one virtual event loop. Where they touch the machine (clocks, sockets, threads, chance) the world
takes over, see `seams`.

* `loop`        virtual time; processes with clocks of their own that can be killed, stopped, blown up at a task switch
* `network`     ordered byte streams that are slow, cut, half-open; `transport` is gRPC's surface over them
* `etcd`        one store with compares and leases; `etcd_client` loses answers and lets requests come late
* `bodies`      the machines as physics has them; `robots` are the agents that drive them; `clones`, `operators`
* `plan`        everything a seed means, as data; `nemesis` carries its faults out
* `truth`       what must hold between bodies, ledger and answers; `liveness` who must get on once all is healed
* `world`       one run; `campaign` many runs, planted bugs, shrinking; `story` a failure in words

A run is a function of its plan: same seed, same history, same digest, whatever the hash seed. Faults happen in the
safety phase, in which nothing may break; then everything is healed, and everyone must get on.
"""
