# An AGV stays longer than it said. At four fifths of the time both sides warn; at D its own dead-man stops it; at the
# coordinator's deadline, a little later, the area stops. The zone stays occupied until a person has looked.

> floor Z_31@cell Z_32@cell Z_40@hall
       0 s  c1 leads in epoch 1
> hello AGV_07
       0 s  AGV_07 begins
       0 s  AGV_07 is welcome
       0 s  AGV_07's link is CONNECTED
> hello AGV_08
       0 s  AGV_08 begins
       0 s  AGV_08 is welcome
       0 s  AGV_08's link is CONNECTED
> ask AGV_07 Z_32 for 5000
       0 s  AGV_07 asks for Z_32, 5.0 s
       0 s  ledger: Z_32 held by AGV_07, token 1
       0 s  AGV_07 hears granted Z_32, token 1, 5.0 s
> go AGV_07
       0 s  AGV_07 moves
> enter AGV_07 Z_32
       0 s  AGV_07 enters Z_32
> ask AGV_08 Z_32 for 5000
       0 s  AGV_08 asks for Z_32, 5.0 s
       0 s  AGV_08 hears queued, place 1: Z_32 is held by AGV_07 for 0 ms; it releases, or its deadline stops the area
> wait 6000
    4.04 s  AGV_07 is warned: 1.0 s left of token 1
    4.75 s  AGV_07's permit for token 1 ends
    4.75 s  AGV_07 stands
    4.75 s  AGV_07 has lost token 1 (deadline)
    5.05 s  ledger: Z_32 blocked by AGV_07, token 1 (overdue); stop deadline:1 active
    5.05 s  AGV_07 hears stop deadline:1
    5.05 s  AGV_07 latches deadline:1
    5.05 s  AGV_07 hears expired token 1: Z_32
    5.05 s  AGV_08 hears STOPPED: Z_32
    5.05 s  AGV_07 confirms that it stands: deadline:1
> zones
  Z_31 STOPPED
  Z_32 STOPPED: AGV_07 (blocked)
  Z_40 FREE
> explain AGV_07
  AGV_07 is stopped by deadline:1 (AGV_07 has held Z_32 for 5.0 s and not confirmed that it left): zonelock reset deadline:1 --reason ... ends it; overstayed in Z_32 950 ms ago and may still be there: it asks for Z_32 again, or zonelock clear Z_32 --reason ...

# A reset must name the stop and who resets it, and every occupant must have confirmed that it stands. This one has.
> reset deadline:1
  refused: operator: empty; name who acts
> reset deadline:1 by ann
       6 s  ledger: stop deadline:1 ended by ann
       6 s  AGV_07 hears that stop deadline:1 has ended
       6 s  AGV_07 unlatches deadline:1
       6 s  AGV_08 hears that stop deadline:1 has ended
> zones
  Z_31 FREE
  Z_32 BLOCKED: AGV_07 (blocked)
  Z_40 FREE

# The reset restarts nothing. AGV_07 asks for the zone that it stands in, and leaves it properly.
> ask AGV_07 Z_32 for 5000
       6 s  AGV_07 asks for Z_32, 5.0 s
       6 s  ledger: Z_32 held by AGV_07, token 2
       6 s  AGV_07 hears granted Z_32, token 2, 5.0 s
> ask AGV_08 Z_32 for 5000
       6 s  AGV_08 asks for Z_32, 5.0 s
       6 s  AGV_08 hears queued, place 1: Z_32 is held by AGV_07 for 0 ms; it releases, or its deadline stops the area
> off AGV_07
       6 s  AGV_07 moves
       6 s  AGV_07 leaves Z_32
       6 s  AGV_07 stands
> release AGV_07
       6 s  AGV_07 gives back token 2 Z_32
       6 s  ledger: Z_32 held by AGV_08, token 3
       6 s  AGV_07 hears released token 2: Z_32
       6 s  AGV_08 hears granted Z_32, token 3, 5.0 s
> drive AGV_08 to Z_32
       6 s  AGV_08 moves
       6 s  AGV_08 enters Z_32
       6 s  AGV_08 stands
> promises
  every promise is kept
