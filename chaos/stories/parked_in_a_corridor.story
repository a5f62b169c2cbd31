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
      60 s  AGV_07 gives back token 2 Corridor
      60 s  ledger: Corridor held by AGV_08, token 3; Dock held by AGV_08, token 3
      60 s  AGV_07 hears released token 2: Corridor
      60 s  AGV_08 hears granted Corridor, Dock, token 3, 8.0 s
> drive AGV_08 to Corridor
      60 s  AGV_08 moves
      60 s  AGV_08 enters Corridor
      60 s  AGV_08 stands
> release AGV_08 Dock
      60 s  AGV_08 gives back token 3 Dock
      60 s  ledger: Dock free
      60 s  AGV_08 hears released token 3: Dock
> promises
  every promise is kept

# An idle one that says that it has arrived is asked to make way as soon as somebody claims a way through it.
> floor Hall@hall Corridor@hall Dock@hall Siding@hall
       0 s  c1 leads in epoch 1
> hello AGV_07
       0 s  AGV_07 begins
       0 s  AGV_07 is welcome
       0 s  AGV_07's link is CONNECTED
> hello AGV_08
       0 s  AGV_08 begins
       0 s  AGV_08 is welcome
       0 s  AGV_08's link is CONNECTED
> ask AGV_07 Corridor for 60000
       0 s  AGV_07 asks for Corridor, 1 min 0 s
       0 s  ledger: Corridor held by AGV_07, token 1
       0 s  AGV_07 hears granted Corridor, token 1, 1 min 0 s
> drive AGV_07 to Corridor
       0 s  AGV_07 moves
       0 s  AGV_07 enters Corridor
       0 s  AGV_07 stands
> claim AGV_07
       0 s  AGV_07 says that it has arrived
       0 s  AGV_07 hears that it can finish; left: nothing
> ask AGV_08 Hall for 60000
       0 s  AGV_08 asks for Hall, 1 min 0 s
       0 s  ledger: Hall held by AGV_08, token 2
       0 s  AGV_08 hears granted Hall, token 2, 1 min 0 s
> drive AGV_08 to Hall
       0 s  AGV_08 moves
       0 s  AGV_08 enters Hall
       0 s  AGV_08 stands
> claim AGV_08 Corridor Dock
       0 s  AGV_08 claims the way Corridor, Dock
       0 s  AGV_08 hears that it can finish; left: Corridor, Dock
> ask AGV_08 Corridor for 60000
       0 s  AGV_08 asks for Corridor, 1 min 0 s
       0 s  AGV_08 hears queued, place 1: Corridor is held by AGV_07 for 0 ms; it releases, or its deadline stops the area
> wait 1000
     0.5 s  AGV_07 is asked to make way and go to Siding
> explain AGV_08
  AGV_08 waits 1.0 s for Corridor: Corridor is held by AGV_07 for 1.0 s; it releases, or its deadline stops the area; holds Hall: it releases or extends within 59.6 s, or their stop group stops

# It does as it was asked, and AGV_08 follows.
> claim AGV_07 Dock Siding
       1 s  AGV_07 claims the way Dock, Siding
       1 s  AGV_07 hears that it can finish; left: Dock, Siding
> ask AGV_07 Dock Siding for 60000
       1 s  AGV_07 asks for Dock, Siding, 1 min 0 s
       1 s  ledger: Dock held by AGV_07, token 3; Siding held by AGV_07, token 3
       1 s  AGV_07 hears granted Dock, Siding, token 3, 1 min 0 s
> drive AGV_07 to Siding
       1 s  AGV_07 moves
       1 s  AGV_07 enters Siding
       1 s  AGV_07 leaves Corridor
       1 s  AGV_07 stands
> release AGV_07 Corridor
       1 s  AGV_07 gives back token 1 Corridor
       1 s  ledger: Corridor held by AGV_08, token 4
       1 s  AGV_07 hears released token 1: Corridor
       1 s  AGV_08 hears granted Corridor, token 4, 1 min 0 s
> release AGV_07 Dock
       1 s  AGV_07 gives back token 3 Dock
       1 s  ledger: Dock free
       1 s  AGV_07 hears released token 3: Dock
> drive AGV_08 to Corridor
       1 s  AGV_08 moves
       1 s  AGV_08 enters Corridor
       1 s  AGV_08 leaves Hall
       1 s  AGV_08 stands
> promises
  every promise is kept
