# Two vehicles stand in neighbouring zones of an aisle and want to change places. Without declared routes each ask is a
# route of one step: both wait, the coordinator says who waits for whom, and their deadlines bound the standstill.

> floor Aisle_1@aisle Aisle_2@aisle
       0 s  c1 leads in epoch 1
> hello AGV_07
       0 s  AGV_07 begins
       0 s  AGV_07 is welcome
       0 s  AGV_07's link is CONNECTED
> hello AGV_08
       0 s  AGV_08 begins
       0 s  AGV_08 is welcome
       0 s  AGV_08's link is CONNECTED
> ask AGV_07 Aisle_1 for 8000
       0 s  AGV_07 asks for Aisle_1, 8.0 s
       0 s  ledger: Aisle_1 held by AGV_07, token 1
       0 s  AGV_07 hears granted Aisle_1, token 1, 8.0 s
> drive AGV_07 to Aisle_1
       0 s  AGV_07 moves
       0 s  AGV_07 enters Aisle_1
       0 s  AGV_07 stands
> ask AGV_08 Aisle_2 for 20000
       0 s  AGV_08 asks for Aisle_2, 20.0 s
       0 s  ledger: Aisle_2 held by AGV_08, token 2
       0 s  AGV_08 hears granted Aisle_2, token 2, 20.0 s
> drive AGV_08 to Aisle_2
       0 s  AGV_08 moves
       0 s  AGV_08 enters Aisle_2
       0 s  AGV_08 stands
> ask AGV_07 Aisle_2 for 5000
       0 s  AGV_07 asks for Aisle_2, 5.0 s
       0 s  AGV_07 hears queued, place 1: Aisle_2 is held by AGV_08 for 0 ms; it releases, or its deadline stops the area
> ask AGV_08 Aisle_1 for 5000
       0 s  AGV_08 asks for Aisle_1, 5.0 s
       0 s  AGV_08 hears queued, place 1: Aisle_1 is held by AGV_07 for 0 ms; it releases, or its deadline stops the area
> explain AGV_07
  AGV_07 waits 0 ms for Aisle_2: Aisle_2 is held by AGV_08 for 0 ms; it releases, or its deadline stops the area; holds Aisle_1
> explain AGV_08
  AGV_08 waits 0 ms for Aisle_1: Aisle_1 is held by AGV_07 for 0 ms; it releases, or its deadline stops the area; holds Aisle_2
> promises
  every promise is kept

# AGV_07 gives way: it withdraws, leaves the aisle the way it came, and AGV_08 goes first.
> cancel AGV_07
       0 s  AGV_07 withdraws its ask
       0 s  AGV_07 hears cancelled
> off AGV_07
       0 s  AGV_07 moves
       0 s  AGV_07 leaves Aisle_1
       0 s  AGV_07 stands
> release AGV_07
       0 s  AGV_07 gives back token 1
       0 s  ledger: Aisle_1 held by AGV_08, token 3
       0 s  AGV_07 hears released token 1: Aisle_1
       0 s  AGV_08 hears granted Aisle_1, token 3, 5.0 s
> drive AGV_08 to Aisle_1
       0 s  AGV_08 moves
       0 s  AGV_08 enters Aisle_1
       0 s  AGV_08 leaves Aisle_2
       0 s  AGV_08 stands
> release AGV_08 Aisle_2
       0 s  AGV_08 gives back token 2
       0 s  ledger: Aisle_2 free
       0 s  AGV_08 hears released token 2: Aisle_2
> ask AGV_07 Aisle_2 for 5000
       0 s  AGV_07 asks for Aisle_2, 5.0 s
       0 s  ledger: Aisle_2 held by AGV_07, token 4
       0 s  AGV_07 hears granted Aisle_2, token 4, 5.0 s
> promises
  every promise is kept
