"""docs/cli.md says everything that the command line can do, and nothing that it cannot."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from google.protobuf.descriptor import Descriptor
from zonelock.v1 import floor_pb2
from zonelock_cli.exits import ExitCode
from zonelock_cli.main import cli

COMMON = {
    "--server",
    "--wait-s",
    "--output",
    "-o",
    "--help",
    "-h",
    "--operator",
    "--reason",
    "--tls-ca",
    "--tls-cert",
    "--tls-key",
}
HEADING = re.compile(r"^#{2,3} (.+)$", re.MULTILINE)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def commands(group: click.Group, path: str = "zonelock") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


COMMANDS = dict(commands(cli))


@pytest.fixture(scope="module")
def sections(repository: Path) -> dict[str, str]:
    text = (repository / "docs" / "cli.md").read_text("utf-8")
    pieces = HEADING.split(text)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def options_of(command: click.Command) -> set[str]:
    return {
        name
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for name in (*parameter.opts, *parameter.secondary_opts)
    }


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_a_section_that_names_every_option(path: str, sections: dict[str, str]) -> None:
    assert path in sections, f"docs/cli.md has no section '{path}'"
    shared = COMMON if path.split()[1] != "sim" else COMMON - {"--server"}
    missing = options_of(COMMANDS[path]) - shared - set(OPTION.findall(sections[path]))
    assert not missing, f"docs/cli.md, section '{path}', says nothing of {', '.join(sorted(missing))}"


@pytest.mark.parametrize("path", COMMANDS)
def test_no_section_promises_an_option_that_does_not_exist(path: str, sections: dict[str, str]) -> None:
    everything = {option for command in COMMANDS.values() for option in options_of(command)} | COMMON
    mentioned = set(OPTION.findall(sections.get(path, "")))
    table = {
        m for line in sections[path].splitlines() if line.startswith("| `-") for m in OPTION.findall(line.split("|")[1])
    }
    assert mentioned <= everything, f"'{path}' mentions {mentioned - everything}"
    assert table <= options_of(COMMANDS[path]), f"'{path}' lists {table - options_of(COMMANDS[path])}"


def test_common_options_and_exit_codes_have_a_row(sections: dict[str, str]) -> None:
    shared = sections["What all commands share"]
    for option in COMMON:
        assert f"`{option}" in shared
    rows = {int(m) for m in re.findall(r"^\| (\d+) \|", shared, re.MULTILINE)}
    assert rows == {int(code) for code in ExitCode}


def test_no_section_describes_a_command_that_does_not_exist(sections: dict[str, str]) -> None:
    described = {name for name in sections if name.startswith("zonelock ")}
    assert described == set(COMMANDS)


SHAPES: dict[str, tuple[Descriptor, ...]] = {
    "Zone": (floor_pb2.ZoneView.DESCRIPTOR,),
    "Occupant": (floor_pb2.Occupant.DESCRIPTOR,),
    "Closure": (floor_pb2.Closure.DESCRIPTOR,),
    "Agent": (floor_pb2.AgentView.DESCRIPTOR,),
    "Wait": (floor_pb2.WaitView.DESCRIPTOR, floor_pb2.Blocker.DESCRIPTOR),
    "Stop": (floor_pb2.Stop.DESCRIPTOR,),
}
UNSAID = {"removed"}
"""What the command line keeps to itself: an agent that was removed is an event of its own."""


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_lists_the_fields_that_the_json_has_and_every_value_of_its_enums(
    shape: str, sections: dict[str, str]
) -> None:
    (entry,) = re.findall(rf"^\* \*\*{shape}\*\* (.+?)(?=^\* |\Z)", sections["Shapes"], re.MULTILINE | re.DOTALL)
    listed = set(re.findall(r'"(\w+)"', entry[: entry.rindex("}")]))
    fields = [field for kind in SHAPES[shape] for field in kind.fields]
    assert listed == {field.name for field in fields} - UNSAID
    for enum in (field.enum_type for field in fields if field.enum_type is not None):
        prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
        said = {v.name.removeprefix(prefix) for v in enum.values[1:]}
        assert said <= set(re.findall(r"`(\w+)`", sections["Shapes"] + sections["zonelock zones"])), enum.name
