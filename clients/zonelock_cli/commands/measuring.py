"""`zonelock bench`: measures zonelock beside its peers on this machine, from a source checkout.

The benchmarks start servers of their own and are no part of what is installed: they run as a program of the checkout,
in a process of its own, and are never imported here.
"""

from __future__ import annotations

from pathlib import Path

import click

from zonelock_cli.exits import ExitCode
from zonelock_cli.failures import Failure

CHECKOUT = Path(__file__).resolve().parents[3]
PROGRAM = Path("benchmarks") / "__main__.py"


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object: machine, versions, figures, ratios.")
@click.option("--rounds", type=click.IntRange(min=1), help="Figures are medians over this many rounds.")
@click.option("--scale", type=click.FloatRange(min=0.0, max=1.0, min_open=True), help="A share of a long one's length.")
@click.option(
    "--only", multiple=True, metavar="PART", help="Of `failover`: only this part, such as sigterm; repeatable."
)
@click.option("--smoke", is_flag=True, help="Seconds only: shows that it works; its figures mean nothing.")
def bench(
    name: str | None, as_json: bool, rounds: int | None, scale: float | None, only: tuple[str, ...], smoke: bool
) -> int:
    """Run the benchmark NAME; without NAME, list them.

    Starts etcd, coordinators and what they are compared with as processes of its own, and ends them. Needs a source
    checkout of zonelock. Measure on a quiet machine.
    """
    import os
    import subprocess
    import sys

    if not (CHECKOUT / PROGRAM).exists():
        raise Failure(
            ExitCode.FAILURE,
            f"the benchmarks are not installed with the package: there is no {PROGRAM} in {CHECKOUT}",
            "Clone the repository and run `make bench ARGS=NAME` there.",
        )
    arguments = ["--list"] if name is None else [name]
    for option, value in (("--rounds", rounds), ("--scale", scale), *(("--only", part) for part in only)):
        if value is not None:
            arguments += [option, str(value)]
    for option, chosen in (("--json", as_json), ("--smoke", smoke)):
        if chosen:
            arguments.append(option)
    paths = os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run([sys.executable, "-m", "benchmarks", *arguments], env=environment, check=False).returncode
