# An arm and an AGV share the loading zone Z_32. The arm swings in while the AGV waits outside; then they change over.
# Nobody is given the zone before the other has left it and said so, and the ledger has it.

> floor Z_31@cell Z_32@cell Z_33@cell
       0 s  c1 leads in epoch 1
> hello Arm_14 kind arm
       0 s  Arm_14 begins
       0 s  Arm_14 is welcome
       0 s  Arm_14's link is CONNECTED
> hello AGV_07
       0 s  AGV_07 begins
       0 s  AGV_07 is welcome
       0 s  AGV_07's link is CONNECTED
> ask AGV_07 Z_31 for 20000
       0 s  AGV_07 asks for Z_31, 20.0 s
       0 s  ledger: Z_31 held by AGV_07, token 1
       0 s  AGV_07 hears granted Z_31, token 1, 20.0 s
> drive AGV_07 to Z_31
       0 s  AGV_07 moves
       0 s  AGV_07 enters Z_31
       0 s  AGV_07 stands

# The arm is first.
> ask Arm_14 Z_32 for 8000
       0 s  Arm_14 asks for Z_32, 8.0 s
       0 s  ledger: Z_32 held by Arm_14, token 2
       0 s  Arm_14 hears granted Z_32, token 2, 8.0 s
> enter Arm_14 Z_32
       0 s  Arm_14 enters Z_32
> ask AGV_07 Z_32 for 10000
       0 s  AGV_07 asks for Z_32, 10.0 s
       0 s  AGV_07 hears queued, place 1: Z_32 is held by Arm_14 for 0 ms; it releases, or its deadline stops the area
> explain AGV_07
  AGV_07 waits 0 ms for Z_32: Z_32 is held by Arm_14 for 0 ms; it releases, or its deadline stops the area; holds Z_31: it releases or extends within 20.2 s, or their stop group stops

# The arm swings out. Its release frees the zone and gives it to the AGV in one commit.
> wait 3000
> leave Arm_14 Z_32
       3 s  Arm_14 leaves Z_32
> release Arm_14
       3 s  Arm_14 gives back token 2 Z_32
       3 s  ledger: Z_32 held by AGV_07, token 3
       3 s  AGV_07 hears granted Z_32, token 3, 10.0 s
       3 s  Arm_14 hears released token 2: Z_32
> drive AGV_07 to Z_32
       3 s  AGV_07 moves
       3 s  AGV_07 enters Z_32
       3 s  AGV_07 leaves Z_31
       3 s  AGV_07 stands
> release AGV_07 Z_31
       3 s  AGV_07 gives back token 1 Z_31
       3 s  ledger: Z_31 free
       3 s  AGV_07 hears released token 1: Z_31
> zones
  Z_31 FREE
  Z_32 HELD: AGV_07 (held)
  Z_33 FREE

# The arm wants back in and waits until the AGV has left for Z_33.
> ask Arm_14 Z_32 for 8000
       3 s  Arm_14 asks for Z_32, 8.0 s
       3 s  Arm_14 hears queued, place 1: Z_32 is held by AGV_07 for 0 ms; it releases, or its deadline stops the area
> wait 4000
> ask AGV_07 Z_33 for 5000
       7 s  AGV_07 asks for Z_33, 5.0 s
       7 s  ledger: Z_33 held by AGV_07, token 4
       7 s  AGV_07 hears granted Z_33, token 4, 5.0 s
> drive AGV_07 to Z_33
       7 s  AGV_07 moves
       7 s  AGV_07 enters Z_33
       7 s  AGV_07 leaves Z_32
       7 s  AGV_07 stands
> release AGV_07 Z_32
       7 s  AGV_07 gives back token 3 Z_32
       7 s  ledger: Z_32 held by Arm_14, token 5
       7 s  AGV_07 hears released token 3: Z_32
       7 s  Arm_14 hears granted Z_32, token 5, 8.0 s
> promises
  every promise is kept
