"""The observer beside a machine: samples in, features, anomalies and snapshots out, on site.

Hard real time belongs to the machine's own controller. The edge node looks on: a writer puts samples into a shared ring
and never waits (I10), observers in other processes copy windows out of it and compute. What they find goes to one sink;
what is grave enough goes to the coordinator by a stated policy. Never imports the coordinator.
"""
