"""The core of zonelock: who may be where, decided without a clock, I/O or chance.

Theory of operation
-------------------
Three facts are kept apart and none is ever derived from another. A *request* says who wants in. A *grant* says who
may move there. *Occupancy* says who may still be there. A database lock may be freed when its lease ends; a floor
zone may not, because the vehicle is still standing in it. So a deadline only ever stops things, and a zone becomes
free only by a token-bearing release, a declined grant, or a named operator's clearance.

`machine.Machine.handle(event)` is the only way anything changes. It returns a `Step`: writes to be committed, sends
that leave only behind that commit, and stops that leave at once (I4). The machine moves ahead of the store: it decides
the next event on the state that its own uncommitted writes will produce. When a commit fails, the shell throws the
machine away and builds a new one from the store, so that nothing decided on sand survives.

* `model`       values and durable records
* `events`      what can happen; `effects` what follows; `rejections` every "no" in one table
* `zones`       the table of units (one slot of one zone each) and its transition table
* `grants`      live grants and their deadlines
* `claims`      who waits, in which order, and what the oldest waiter reserves
* `estop`       which stops are active and whom they cover
* `sessions`    who is connected and what they last said
* `state`, `asking`, `holding`, `stopping`, `presence`, `safety`: the layers of the machine, each on the one before
* `machine`     the one door: the sole mutator
* `views`       what a watcher may see
* `invariants`  I1 to I5 as predicates over one machine

This package imports only the standard library, and of that nothing with side effects.
"""
