# Two vehicles at the two ends of an aisle want to change places. First the naive way: each takes the next zone without a
# word about its route. The second one is told that waiting cannot help, why, and where it could draw back to.

> floor West*2@aisle Aisle_1@aisle Aisle_2@aisle East*2@aisle
       0 s  c1 leads in epoch 1
> hello AGV_07
       0 s  AGV_07 begins
       0 s  AGV_07 is welcome
       0 s  AGV_07's link is CONNECTED
> hello AGV_08
       0 s  AGV_08 begins
       0 s  AGV_08 is welcome
       0 s  AGV_08's link is CONNECTED
> ask AGV_07 Aisle_1 for 60000
       0 s  AGV_07 asks for Aisle_1, 1 min 0 s
       0 s  ledger: Aisle_1 held by AGV_07, token 1
       0 s  AGV_07 hears granted Aisle_1, token 1, 1 min 0 s
> drive AGV_07 to Aisle_1
       0 s  AGV_07 moves
       0 s  AGV_07 enters Aisle_1
       0 s  AGV_07 stands
> ask AGV_08 Aisle_2 for 60000
       0 s  AGV_08 asks for Aisle_2, 1 min 0 s
       0 s  ledger: Aisle_2 held by AGV_08, token 2
       0 s  AGV_08 hears granted Aisle_2, token 2, 1 min 0 s
> drive AGV_08 to Aisle_2
       0 s  AGV_08 moves
       0 s  AGV_08 enters Aisle_2
       0 s  AGV_08 stands
> ask AGV_07 Aisle_2 for 60000
       0 s  AGV_07 asks for Aisle_2, 1 min 0 s
       0 s  AGV_07 hears queued, place 1: Aisle_2 is held by AGV_08 for 0 ms; it releases, or its deadline stops the area
> ask AGV_08 Aisle_1 for 60000
       0 s  AGV_08 asks for Aisle_1, 1 min 0 s
       0 s  AGV_08 hears WOULD_DEADLOCK: waiting cannot help AGV_08: AGV_08 holds Aisle_2 and needs Aisle_1; AGV_07 holds Aisle_1 and needs Aisle_2; draw back to East, or plan another way
> explain AGV_07
  AGV_07 waits 0 ms for Aisle_2: Aisle_2 is held by AGV_08 for 0 ms; it releases, or its deadline stops the area; holds Aisle_1: it releases or extends within 1 min 0 s, or their stop group stops

# AGV_08 draws back; AGV_07 goes through.
> ask AGV_08 East for 60000
       0 s  AGV_08 asks for East, 1 min 0 s
       0 s  ledger: East held by AGV_08, token 3
       0 s  AGV_08 hears granted East, token 3, 1 min 0 s
> drive AGV_08 to East
       0 s  AGV_08 moves
       0 s  AGV_08 enters East
       0 s  AGV_08 leaves Aisle_2
       0 s  AGV_08 stands
> release AGV_08 Aisle_2
       0 s  AGV_08 gives back token 2 Aisle_2
       0 s  ledger: Aisle_2 held by AGV_07, token 4
       0 s  AGV_07 hears granted Aisle_2, token 4, 1 min 0 s
       0 s  AGV_08 hears released token 2: Aisle_2
> drive AGV_07 to Aisle_2
       0 s  AGV_07 moves
       0 s  AGV_07 enters Aisle_2
       0 s  AGV_07 leaves Aisle_1
       0 s  AGV_07 stands
> release AGV_07 Aisle_1
       0 s  AGV_07 gives back token 1 Aisle_1
       0 s  ledger: Aisle_1 free
       0 s  AGV_07 hears released token 1: Aisle_1
> ask AGV_07 East for 60000
       0 s  AGV_07 asks for East, 1 min 0 s
       0 s  ledger: East/1 held by AGV_07, token 5
       0 s  AGV_07 hears granted East, token 5, 1 min 0 s
> drive AGV_07 to East
       0 s  AGV_07 moves
       0 s  AGV_07 enters East
       0 s  AGV_07 leaves Aisle_2
       0 s  AGV_07 stands
> release AGV_07 Aisle_2
       0 s  AGV_07 gives back token 4 Aisle_2
       0 s  ledger: Aisle_2 free
       0 s  AGV_07 hears released token 4: Aisle_2

# With declared routes it does not come to that. AGV_08 claims its way West and enters; AGV_09 comes from the other end, and
# its first step is not granted although the zone is free. It waits outside until AGV_08 has come through.
> hello AGV_09
       0 s  AGV_09 begins
       0 s  AGV_09 is welcome
       0 s  AGV_09's link is CONNECTED
> ask AGV_09 West for 60000
       0 s  AGV_09 asks for West, 1 min 0 s
       0 s  ledger: West held by AGV_09, token 6
       0 s  AGV_09 hears granted West, token 6, 1 min 0 s
> drive AGV_09 to West
       0 s  AGV_09 moves
       0 s  AGV_09 enters West
       0 s  AGV_09 stands
> claim AGV_08 Aisle_2 Aisle_1 West
       0 s  AGV_08 claims the way Aisle_2, Aisle_1, West
       0 s  AGV_08 hears that it can finish; left: Aisle_2, Aisle_1, West
> claim AGV_09 Aisle_1 Aisle_2 East
       0 s  AGV_09 claims the way Aisle_1, Aisle_2, East
       0 s  AGV_09 hears that it can finish; left: Aisle_1, Aisle_2, East
> ask AGV_08 Aisle_2 for 60000
       0 s  AGV_08 asks for Aisle_2, 1 min 0 s
       0 s  ledger: Aisle_2 held by AGV_08, token 7
       0 s  AGV_08 hears granted Aisle_2, token 7, 1 min 0 s
> drive AGV_08 to Aisle_2
       0 s  AGV_08 moves
       0 s  AGV_08 enters Aisle_2
       0 s  AGV_08 leaves East
       0 s  AGV_08 stands
> release AGV_08 East
       0 s  AGV_08 gives back token 3 East
       0 s  ledger: East free
       0 s  AGV_08 hears released token 3: East
> ask AGV_09 Aisle_1 for 60000
       0 s  AGV_09 asks for Aisle_1, 1 min 0 s
       0 s  AGV_09 hears queued, place 1: Aisle_1 is free, but taking it now would lock somebody in: AGV_08, AGV_09 must move first
> ask AGV_08 Aisle_1 West for 60000
       0 s  AGV_08 asks for Aisle_1, West, 1 min 0 s
       0 s  ledger: Aisle_1 held by AGV_08, token 8; West/1 held by AGV_08, token 8
       0 s  AGV_08 hears granted Aisle_1, West, token 8, 1 min 0 s
> drive AGV_08 to Aisle_1
       0 s  AGV_08 moves
       0 s  AGV_08 enters Aisle_1
       0 s  AGV_08 leaves Aisle_2
       0 s  AGV_08 stands
> release AGV_08 Aisle_2
       0 s  AGV_08 gives back token 7 Aisle_2
       0 s  ledger: Aisle_2 free
       0 s  AGV_08 hears released token 7: Aisle_2
> drive AGV_08 to West
       0 s  AGV_08 moves
       0 s  AGV_08 enters West
       0 s  AGV_08 leaves Aisle_1
       0 s  AGV_08 stands
> release AGV_08 Aisle_1
       0 s  AGV_08 gives back token 8 Aisle_1
       0 s  ledger: Aisle_1 held by AGV_09, token 9
       0 s  AGV_08 hears released token 8: Aisle_1
       0 s  AGV_09 hears granted Aisle_1, token 9, 1 min 0 s
> claim AGV_08
       0 s  AGV_08 says that it has arrived
       0 s  AGV_08 hears that it can finish; left: nothing
> drive AGV_09 to Aisle_1
       0 s  AGV_09 moves
       0 s  AGV_09 enters Aisle_1
       0 s  AGV_09 leaves West
       0 s  AGV_09 stands
> release AGV_09 West
       0 s  AGV_09 gives back token 6 West
       0 s  ledger: West free
       0 s  AGV_09 hears released token 6: West
> ask AGV_09 Aisle_2 East for 60000
       0 s  AGV_09 asks for Aisle_2, East, 1 min 0 s
       0 s  ledger: Aisle_2 held by AGV_09, token 10; East held by AGV_09, token 10
       0 s  AGV_09 hears granted Aisle_2, East, token 10, 1 min 0 s
> drive AGV_09 to East
       0 s  AGV_09 moves
       0 s  AGV_09 enters East
       0 s  AGV_09 leaves Aisle_1
       0 s  AGV_09 stands
> promises
  every promise is kept
