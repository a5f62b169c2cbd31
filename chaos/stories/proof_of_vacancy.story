# An AGV gives its grant up inside a zone whose policy lets the last holder prove that it has left. Reports from before
# prove nothing: a nonce is made up after the zone was blocked, and reports from inside spoil the proof.

> floor Dock?holder Gate
       0 s  c1 leads in epoch 1
> hello AGV_07
       0 s  AGV_07 begins
       0 s  AGV_07 is welcome
       0 s  AGV_07's link is CONNECTED
> hello AGV_08
       0 s  AGV_08 begins
       0 s  AGV_08 is welcome
       0 s  AGV_08's link is CONNECTED
> ask AGV_07 Dock for 5000
       0 s  AGV_07 asks for Dock, 5.0 s
       0 s  ledger: Dock held by AGV_07, token 1
       0 s  AGV_07 hears granted Dock, token 1, 5.0 s
> drive AGV_07 to Dock
       0 s  AGV_07 moves
       0 s  AGV_07 enters Dock
       0 s  AGV_07 stands
> abandon AGV_07
       0 s  AGV_07 gives up token 1 (abandoned), its zones stay occupied
       0 s  ledger: Dock blocked by AGV_07, token 1 (abandoned)
       0 s  AGV_07 hears abandoned token 1: Dock
> ask AGV_08 Dock for 5000
       0 s  AGV_08 asks for Dock, 5.0 s
       0 s  AGV_08 hears queued, place 1: Dock is occupied by AGV_07 without a live grant (abandoned) for 0 ms: it asks again, or zonelock clear Dock --reason ...
> prove AGV_07
       0 s  AGV_07 wants to prove that it left
       0 s  AGV_07 hears challenged token 1
       0 s  AGV_07 reports: inside Dock, with the nonce
       0 s  AGV_07 hears STILL_INSIDE: Dock
     0.1 s  AGV_07 reports: inside Dock, with the nonce
     0.2 s  AGV_07 reports: inside Dock, with the nonce
> zones
  Dock BLOCKED: AGV_07 (blocked)
  Gate FREE

# Pushed out by hand, it tries again.
> leave AGV_07 Dock
     0.3 s  AGV_07 leaves Dock
> prove AGV_07
     0.3 s  AGV_07 wants to prove that it left
     0.3 s  AGV_07 hears challenged token 1
     0.3 s  AGV_07 reports: inside no zone, with the nonce
     0.4 s  AGV_07 reports: inside no zone, with the nonce
     0.5 s  AGV_07 reports: inside no zone, with the nonce
     0.5 s  ledger: Dock held by AGV_08, token 4
     0.5 s  AGV_07 hears released token 1: Dock
     0.5 s  AGV_08 hears granted Dock, token 4, 5.0 s
> zones
  Dock HELD: AGV_08 (held)
  Gate FREE
> promises
  every promise is kept
