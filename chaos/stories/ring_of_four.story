# Four vehicles fill a ring of four zones and each wants the next. Without declared routes three wait for one another; the
# fourth closes the ring, is told so with the ring in words, and draws back to the bay beside it.

> floor R1@ring R2@ring R3@ring R4@ring Bay@ring
       0 s  c1 leads in epoch 1
> hello AGV_1
       0 s  AGV_1 begins
       0 s  AGV_1 is welcome
       0 s  AGV_1's link is CONNECTED
> hello AGV_2
       0 s  AGV_2 begins
       0 s  AGV_2 is welcome
       0 s  AGV_2's link is CONNECTED
> hello AGV_3
       0 s  AGV_3 begins
       0 s  AGV_3 is welcome
       0 s  AGV_3's link is CONNECTED
> hello AGV_4
       0 s  AGV_4 begins
       0 s  AGV_4 is welcome
       0 s  AGV_4's link is CONNECTED
> ask AGV_1 R1 for 30000
       0 s  AGV_1 asks for R1, 30.0 s
       0 s  ledger: R1 held by AGV_1, token 1
       0 s  AGV_1 hears granted R1, token 1, 30.0 s
> ask AGV_2 R2 for 30000
       0 s  AGV_2 asks for R2, 30.0 s
       0 s  ledger: R2 held by AGV_2, token 2
       0 s  AGV_2 hears granted R2, token 2, 30.0 s
> ask AGV_3 R3 for 30000
       0 s  AGV_3 asks for R3, 30.0 s
       0 s  ledger: R3 held by AGV_3, token 3
       0 s  AGV_3 hears granted R3, token 3, 30.0 s
> ask AGV_4 R4 for 30000
       0 s  AGV_4 asks for R4, 30.0 s
       0 s  ledger: R4 held by AGV_4, token 4
       0 s  AGV_4 hears granted R4, token 4, 30.0 s
> drive AGV_1 to R1
       0 s  AGV_1 moves
       0 s  AGV_1 enters R1
       0 s  AGV_1 stands
> drive AGV_2 to R2
       0 s  AGV_2 moves
       0 s  AGV_2 enters R2
       0 s  AGV_2 stands
> drive AGV_3 to R3
       0 s  AGV_3 moves
       0 s  AGV_3 enters R3
       0 s  AGV_3 stands
> drive AGV_4 to R4
       0 s  AGV_4 moves
       0 s  AGV_4 enters R4
       0 s  AGV_4 stands
> ask AGV_1 R2 for 30000
       0 s  AGV_1 asks for R2, 30.0 s
       0 s  AGV_1 hears queued, place 1: R2 is held by AGV_2 for 0 ms; it releases, or its deadline stops the area
> ask AGV_2 R3 for 30000
       0 s  AGV_2 asks for R3, 30.0 s
       0 s  AGV_2 hears queued, place 1: R3 is held by AGV_3 for 0 ms; it releases, or its deadline stops the area
> ask AGV_3 R4 for 30000
       0 s  AGV_3 asks for R4, 30.0 s
       0 s  AGV_3 hears queued, place 1: R4 is held by AGV_4 for 0 ms; it releases, or its deadline stops the area
> ask AGV_4 R1 for 30000
       0 s  AGV_4 asks for R1, 30.0 s
       0 s  AGV_4 hears WOULD_DEADLOCK: waiting cannot help AGV_4: AGV_4 holds R4 and needs R1; AGV_1 holds R1 and needs R2; AGV_2 holds R2 and needs R3; AGV_3 holds R3 and needs R4; draw back to Bay, or plan another way
> explain AGV_1
  AGV_1 waits 0 ms for R2: R2 is held by AGV_2 for 0 ms; it releases, or its deadline stops the area; holds R1: it releases or extends within 30.3 s, or their stop group stops

# AGV_4 turns off into the bay; the ring moves on one by one.
> ask AGV_4 Bay for 30000
       0 s  AGV_4 asks for Bay, 30.0 s
       0 s  ledger: Bay held by AGV_4, token 5
       0 s  AGV_4 hears granted Bay, token 5, 30.0 s
> drive AGV_4 to Bay
       0 s  AGV_4 moves
       0 s  AGV_4 enters Bay
       0 s  AGV_4 leaves R4
       0 s  AGV_4 stands
> release AGV_4 R4
       0 s  AGV_4 gives back token 4 R4
       0 s  ledger: R4 held by AGV_3, token 6
       0 s  AGV_3 hears granted R4, token 6, 30.0 s
       0 s  AGV_4 hears released token 4: R4
> drive AGV_3 to R4
       0 s  AGV_3 moves
       0 s  AGV_3 enters R4
       0 s  AGV_3 leaves R3
       0 s  AGV_3 stands
> release AGV_3 R3
       0 s  AGV_3 gives back token 3 R3
       0 s  ledger: R3 held by AGV_2, token 7
       0 s  AGV_2 hears granted R3, token 7, 30.0 s
       0 s  AGV_3 hears released token 3: R3
> drive AGV_2 to R3
       0 s  AGV_2 moves
       0 s  AGV_2 enters R3
       0 s  AGV_2 leaves R2
       0 s  AGV_2 stands
> release AGV_2 R2
       0 s  AGV_2 gives back token 2 R2
       0 s  ledger: R2 held by AGV_1, token 8
       0 s  AGV_1 hears granted R2, token 8, 30.0 s
       0 s  AGV_2 hears released token 2: R2
> drive AGV_1 to R2
       0 s  AGV_1 moves
       0 s  AGV_1 enters R2
       0 s  AGV_1 leaves R1
       0 s  AGV_1 stands
> release AGV_1 R1
       0 s  AGV_1 gives back token 1 R1
       0 s  ledger: R1 free
       0 s  AGV_1 hears released token 1: R1
> zones
  Bay HELD: AGV_4 (held)
  R1 FREE
  R2 HELD: AGV_1 (held)
  R3 HELD: AGV_2 (held)
  R4 HELD: AGV_3 (held)
> promises
  every promise is kept
