"""zonelock's SDK: ask for zones before you move, move while you hold them, say when you have left.

    async with await connect("localhost:7600", agent_id="AGV_07") as agent:
        async with agent.hold("Z_32", "Z_33", expected_ms=8_000) as grant:
            await drive(grant)          # cancelled, and GrantLost raised, when the grant is lost or the area stops
            await grant.cleared()       # without this line, leaving the block abandons the grant

Rule owned by the whole package: a machine moves only while `grant.may_move()`, and silence never gives a zone back.

* `fleet`         connecting        * `agent`, `grant`, `hold`  what a controller uses
* `operators`     what people use   * `dead_man`                the watchdog thread
* `proof`         leaving blocked zones behind         * `vehicle`  permits, for controllers elsewhere
* `session_core`  the rules, without a clock or a socket       * `link`  its asyncio shell
* `testing`       a coordinator in the test's own process

Imports `zonelock.v1`, grpc, google.protobuf, google.rpc and the standard library; never the coordinator, `testing`
aside.
"""

from __future__ import annotations

from zonelock.v1.floor_pb2 import Stop as Stop

from zonelock_client.agent import Agent as Agent
from zonelock_client.dead_man import Halt as Halt
from zonelock_client.errors import ArgumentError as ArgumentError
from zonelock_client.errors import ExtensionRejected as ExtensionRejected
from zonelock_client.errors import GoodbyeRejected as GoodbyeRejected
from zonelock_client.errors import GrantLost as GrantLost
from zonelock_client.errors import GrantRejected as GrantRejected
from zonelock_client.errors import LinkLost as LinkLost
from zonelock_client.errors import OperatorRequired as OperatorRequired
from zonelock_client.errors import OutboxFull as OutboxFull
from zonelock_client.errors import Rejected as Rejected
from zonelock_client.errors import RequestError as RequestError
from zonelock_client.errors import StillInside as StillInside
from zonelock_client.errors import ZonelockError as ZonelockError
from zonelock_client.fleet import Fleet as Fleet
from zonelock_client.fleet import connect as connect
from zonelock_client.fleet import connect_fleet as connect_fleet
from zonelock_client.grant import Grant as Grant
from zonelock_client.hold import Hold as Hold
from zonelock_client.operators import Operator as Operator
from zonelock_client.session_core.values import LinkState as LinkState
from zonelock_client.session_core.values import LostReason as LostReason
