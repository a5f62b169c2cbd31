# AGV_07 parks in the corridor: it stands there and says so, without a deadline. Whoever wants through waits and is told
# for whom; no time makes the zone free. AGV_07's own next ask turns the parking place into a grant again.

> floor Hall@hall Corridor@hall Dock@hall
       0 s  c1 leads in epoch 1
> hello AGV_07
       0 s  AGV_07 begins
       0 s  AGV_07 is welcome
       0 s  AGV_07's link is CONNECTED
> hello AGV_08
       0 s  AGV_08 begins
       0 s  AGV_08 is welcome
       0 s  AGV_08's link is CONNECTED
> ask AGV_07 Corridor for 5000
       0 s  AGV_07 asks for Corridor, 5.0 s
       0 s  ledger: Corridor held by AGV_07, token 1
       0 s  AGV_07 hears granted Corridor, token 1, 5.0 s
> drive AGV_07 to Corridor
       0 s  AGV_07 moves
       0 s  AGV_07 enters Corridor
       0 s  AGV_07 stands
> park AGV_07
       0 s  AGV_07 gives up token 1 (parked), its zones stay occupied
       0 s  ledger: Corridor blocked by AGV_07, token 1 (parked)
       0 s  AGV_07 hears abandoned token 1: Corridor
> ask AGV_08 Corridor Dock for 8000
       0 s  AGV_08 asks for Corridor, Dock, 8.0 s
       0 s  AGV_08 hears queued, place 1: Corridor is occupied by AGV_07 without a live grant (parked) for 0 ms: it asks again, or zonelock clear Corridor --reason ...
> explain AGV_08
  AGV_08 waits 0 ms for Corridor, Dock: Corridor is occupied by AGV_07 without a live grant (parked) for 0 ms: it asks again, or zonelock clear Corridor --reason ...
> wait 60000
> zones
  Corridor BLOCKED: AGV_07 (blocked)
  Dock FREE
  Hall FREE

# It moves off and lets AGV_08 through.
> ask AGV_07 Corridor for 5000
      60 s  AGV_07 asks for Corridor, 5.0 s
      60 s  ledger: Corridor held by AGV_07, token 2
      60 s  AGV_07 hears granted Corridor, token 2, 5.0 s
> off AGV_07
      60 s  AGV_07 moves
      60 s  AGV_07 leaves Corridor
      60 s  AGV_07 stands
> release AGV_07
      60 s  AGV_07 gives back token 2
      60 s  ledger: Corridor held by AGV_08, token 3; Dock held by AGV_08, token 3
      60 s  AGV_07 hears released token 2: Corridor
      60 s  AGV_08 hears granted Corridor, Dock, token 3, 8.0 s
> drive AGV_08 to Corridor
      60 s  AGV_08 moves
      60 s  AGV_08 enters Corridor
      60 s  AGV_08 stands
> promises
  every promise is kept
