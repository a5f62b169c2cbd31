# A stop is pressed while the store is slow: it leaves at once. Then the coordinator dies before anything of it was
# durable. The next one puts it back from the file beside it, and whoever was latched stays latched.

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
> ask AGV_07 Z_31 for 20000
       0 s  AGV_07 asks for Z_31, 20.0 s
       0 s  ledger: Z_31 held by AGV_07, token 1
       0 s  AGV_07 hears granted Z_31, token 1, 20.0 s
> drive AGV_07 to Z_31
       0 s  AGV_07 moves
       0 s  AGV_07 enters Z_31
       0 s  AGV_07 stands
> hold commits
> ask AGV_08 Z_32 for 20000
       0 s  AGV_08 asks for Z_32, 20.0 s
> stop red-button group cell
       0 s  AGV_07 hears stop red-button
       0 s  AGV_07 has lost token 1 (stopped)
       0 s  AGV_07 latches red-button
       0 s  AGV_08 hears stop red-button
       0 s  AGV_08 latches red-button
       0 s  AGV_07 confirms that it stands: red-button
       0 s  AGV_08 confirms that it stands: red-button
> crash
       0 s  c1 crashes
       0 s  AGV_07's link is SUSPENDED
       0 s  AGV_08's link is SUSPENDED
> wait 300
> restart
     0.3 s  c1 leads in epoch 2
     0.3 s  ledger: Z_31 blocked by AGV_07, token 1 (stopped); stop red-button active
     0.3 s  AGV_07 hears stop red-button
     0.3 s  AGV_08 hears stop red-button
     0.3 s  AGV_07 is welcome
     0.3 s  AGV_07's link is CONNECTED
     0.3 s  AGV_08 is welcome
     0.3 s  AGV_08's link is CONNECTED
     0.3 s  AGV_07 confirms that it stands: red-button
     0.3 s  AGV_08 confirms that it stands: red-button
     0.3 s  AGV_08 asks for Z_32, 20.0 s
     0.3 s  AGV_08 hears STOPPED: Z_32
> zones
  Z_31 STOPPED: AGV_07 (blocked)
  Z_32 STOPPED
  Z_40 FREE

# AGV_08 was granted Z_32 in a commit that never happened: it was never told, so it never entered.
> ask AGV_08 Z_32 for 20000
     0.3 s  AGV_08 asks for Z_32, 20.0 s
     0.3 s  AGV_08 hears STOPPED: Z_32
> ask AGV_08 Z_40 for 5000
     0.3 s  AGV_08 asks for Z_40, 5.0 s
     0.3 s  AGV_08 hears STOPPED: Z_40
> ask AGV_07 Z_40 for 5000
     0.3 s  AGV_07 asks for Z_40, 5.0 s
     0.3 s  AGV_07 hears STOPPED: Z_40
> reset red-button by ann
     0.3 s  ledger: stop red-button ended by ann
     0.3 s  AGV_07 hears that stop red-button has ended
     0.3 s  AGV_07 unlatches red-button
     0.3 s  AGV_08 hears that stop red-button has ended
     0.3 s  AGV_08 unlatches red-button
> ask AGV_07 Z_31 for 10000
     0.3 s  AGV_07 asks for Z_31, 10.0 s
     0.3 s  ledger: Z_31 held by AGV_07, token 2
     0.3 s  AGV_07 hears granted Z_31, token 2, 10.0 s
> ask AGV_08 Z_32 for 10000
     0.3 s  AGV_08 asks for Z_32, 10.0 s
     0.3 s  ledger: Z_32 held by AGV_08, token 3
     0.3 s  AGV_08 hears granted Z_32, token 3, 10.0 s
> promises
  every promise is kept
