"""A floor full of simulated vehicles and arms that drive by their grants alone.

`bodies` moves them, `truth` counts what really happened, `vehicle` and `arm` are agents on the SDK, `traffic` is what
their fleet controller knows, `incidents` makes things go wrong, `run` puts it together around real processes
(`processes`).

    report = await run_sim(SimOptions(agents=6, seconds=20), lambda progress: print(progress.message))
"""

from zonelock_sim.incidents import Incident, IncidentError, parse_incident
from zonelock_sim.options import Latency, Progress, Report, SimError, SimOptions, demo_options
from zonelock_sim.run import run_sim

__all__ = [
    "Incident",
    "IncidentError",
    "Latency",
    "Progress",
    "Report",
    "SimError",
    "SimOptions",
    "demo_options",
    "parse_incident",
    "run_sim",
]
