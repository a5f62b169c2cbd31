"""The session, without a clock, sockets or tasks: what to send, what an answer means, until when one may move.

Theory of operation
-------------------
A `SessionCore` is one stream's end. It numbers frames, notes each one's send time *before* it is written, and reads
answers. Its `AgentCore`s hold what each agent asked, holds and owes. A shell (asyncio in `link`, virtual time in a
simulator) does three things in turn: it calls methods with the time of its clock, writes the frames that `next_frame`
gives, and acts on the notices that `take_notices` gives.

Two rules live here and nowhere else:

* The holder's deadline is `D = t_send(echo frame) + remaining * (1 - rho) - stop_ms` on the holder's own clock. The
  echoed frame left before the coordinator set its deadline, so D lies before the coordinator's whatever the delays
  were. An echo whose send time is not known gives no D, and a grant without D is declined.
* What an agent gives back (release, abandon, decline) stays in its outbox until it is answered, over any number of
  streams.

* `values`  specs, notices, the grant as its holder sees it
* `frames`  frame numbers, send times, link freshness
* `outbox`  what is owed to the coordinator
* `proofs`  proving that blocked zones are empty again
* `stop_news`  stops heard at other coordinators than the session's
* `agent`   one agent's half; `answers` reads what the coordinator said to it
* `stream`  one stream's half

Imports the standard library and `zonelock.v1` messages only. Times are nanoseconds of one clock that counts through
system sleep (CLOCK_BOOTTIME) where the name says `_ns`, milliseconds where it says `_ms`.
"""

from __future__ import annotations

from zonelock_client.session_core.agent import AgentCore as AgentCore
from zonelock_client.session_core.stream import SessionCore as SessionCore
from zonelock_client.session_core.values import AgentSpec as AgentSpec
from zonelock_client.session_core.values import HeldGrant as HeldGrant
from zonelock_client.session_core.values import LinkState as LinkState
from zonelock_client.session_core.values import LostReason as LostReason
