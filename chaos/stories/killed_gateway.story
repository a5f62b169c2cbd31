# A fleet gateway speaks for two vehicles and is killed. Their controllers obey the permits that they were given: both
# drive on and stand by themselves when those end. Their zones stay theirs. The gateway's next process has the secrets, so it
# carries on with what is still live.

> floor Z_31@west Z_32@west Z_40@east
       0 s  c1 leads in epoch 1
> hello AGV_07 via fleet
       0 s  AGV_07 begins
       0 s  AGV_07 is welcome
       0 s  AGV_07's link is CONNECTED
> hello AGV_08 via fleet
       0 s  AGV_08 begins
       0 s  AGV_08 is welcome
       0 s  AGV_08's link is CONNECTED
> ask AGV_07 Z_31 for 4000
       0 s  AGV_07 asks for Z_31, 4.0 s
       0 s  ledger: Z_31 held by AGV_07, token 1
       0 s  AGV_07 hears granted Z_31, token 1, 4.0 s
> ask AGV_08 Z_40 for 20000
       0 s  AGV_08 asks for Z_40, 20.0 s
       0 s  ledger: Z_40 held by AGV_08, token 2
       0 s  AGV_08 hears granted Z_40, token 2, 20.0 s
> go AGV_07
       0 s  AGV_07 moves
> enter AGV_07 Z_31
       0 s  AGV_07 enters Z_31
> go AGV_08
       0 s  AGV_08 moves
> enter AGV_08 Z_40
       0 s  AGV_08 enters Z_40
> kill fleet
       0 s  AGV_07 has nobody who speaks for it
       0 s  AGV_08 has nobody who speaks for it
> zones
  Z_31 HELD: AGV_07 (held, orphaned)
  Z_32 FREE
  Z_40 HELD: AGV_08 (held, orphaned)
> wait 5000
    3.76 s  AGV_07's permit for token 1 ends
    3.76 s  AGV_07 stands
    4.04 s  ledger: Z_31 blocked by AGV_07, token 1 (overdue); stop deadline:1 active
> zones
  Z_31 STOPPED: AGV_07 (blocked)
  Z_32 STOPPED
  Z_40 HELD: AGV_08 (held, orphaned)

# The new process.
> hello AGV_08
       5 s  AGV_08 stands
       5 s  AGV_08 begins
       5 s  AGV_08 is welcome and carries on with token 2 (Z_40), 15.0 s
       5 s  AGV_08's link is CONNECTED
> hello AGV_07
       5 s  AGV_07 begins
       5 s  AGV_07 hears stop deadline:1
       5 s  AGV_07 latches deadline:1
       5 s  AGV_07 is welcome
       5 s  AGV_07's link is CONNECTED
       5 s  AGV_07 confirms that it stands: deadline:1
> explain AGV_07
  AGV_07 is stopped by deadline:1 (AGV_07 has held Z_31 for 4.0 s and not confirmed that it left): zonelock reset deadline:1 --reason ... ends it; overstayed in Z_31 960 ms ago and may still be there: it asks for Z_31 again, or zonelock clear Z_31 --reason ...
> explain AGV_08
  AGV_08 holds Z_40: it releases or extends within 15.2 s, or their stop group stops
> off AGV_08
       5 s  AGV_08 moves
       5 s  AGV_08 leaves Z_40
       5 s  AGV_08 stands
> release AGV_08
       5 s  AGV_08 gives back token 2 Z_40
       5 s  ledger: Z_40 free
       5 s  AGV_08 hears released token 2: Z_40
> promises
  every promise is kept
