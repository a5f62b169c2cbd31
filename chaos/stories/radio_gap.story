# The radio is gone for 5 s. First a gap that the grant outlives: nothing happens but a suspended link. Then a gap that
# it does not outlive: the vehicle stands at its own D, without having heard anything.

> floor Z_31@cell Z_32@cell
       0 s  c1 leads in epoch 1
> hello AGV_07
       0 s  AGV_07 begins
       0 s  AGV_07 is welcome
       0 s  AGV_07's link is CONNECTED
> ask AGV_07 Z_32 for 20000
       0 s  AGV_07 asks for Z_32, 20.0 s
       0 s  ledger: Z_32 held by AGV_07, token 1
       0 s  AGV_07 hears granted Z_32, token 1, 20.0 s
> go AGV_07
       0 s  AGV_07 moves
> enter AGV_07 Z_32
       0 s  AGV_07 enters Z_32
> wait 1000
> cut AGV_07
> wait 5000
     2.5 s  AGV_07's link is SUSPENDED
       6 s  AGV_07's link is LOST
       6 s  AGV_07 stands
> zones
  Z_31 FREE
  Z_32 HELD: AGV_07 (held)
> heal AGV_07
       6 s  AGV_07 is welcome and carries on with token 1 (Z_32), 14.0 s
       6 s  AGV_07's link is CONNECTED
> wait 500
> go AGV_07
     6.5 s  AGV_07 moves
> leave AGV_07 Z_32
     6.5 s  AGV_07 leaves Z_32
> stand AGV_07
     6.5 s  AGV_07 stands
> release AGV_07
     6.5 s  AGV_07 gives back token 1 Z_32
     6.5 s  ledger: Z_32 free
     6.5 s  AGV_07 hears released token 1: Z_32

# The same with a short grant.
> ask AGV_07 Z_31 for 4000
     6.5 s  AGV_07 asks for Z_31, 4.0 s
     6.5 s  ledger: Z_31 held by AGV_07, token 2
     6.5 s  AGV_07 hears granted Z_31, token 2, 4.0 s
> go AGV_07
     6.5 s  AGV_07 moves
> enter AGV_07 Z_31
     6.5 s  AGV_07 enters Z_31
> cut AGV_07
> wait 5000
       8 s  AGV_07's link is SUSPENDED
   10.26 s  AGV_07's permit for token 2 ends
   10.26 s  AGV_07 stands
   10.26 s  AGV_07 has lost token 2 (deadline)
   10.54 s  ledger: Z_31 blocked by AGV_07, token 2 (overdue); stop deadline:2 active
    11.5 s  AGV_07's link is LOST
> zones
  Z_31 STOPPED: AGV_07 (blocked)
  Z_32 STOPPED
> heal AGV_07
    11.5 s  AGV_07 hears stop deadline:2
    11.5 s  AGV_07 latches deadline:2
    11.5 s  AGV_07 is welcome
    11.5 s  AGV_07's link is CONNECTED
    11.5 s  AGV_07 confirms that it stands: deadline:2
> wait 500
> explain AGV_07
  AGV_07 is stopped by deadline:2 (AGV_07 has held Z_31 for 4.0 s and not confirmed that it left): zonelock reset deadline:2 --reason ... ends it; overstayed in Z_31 1.4 s ago and may still be there: it asks for Z_31 again, or zonelock clear Z_31 --reason ...
> promises
  every promise is kept
