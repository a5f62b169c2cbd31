"""Who may import whom. The table below is the architecture: the core is pure, parts know only the parts beneath them,
clients know only the protocol, and only files named `app.py` see everything.

The rules are checked on the syntax tree, so an import counts wherever it stands: at the top, inside a function, under
TYPE_CHECKING, or as the constant argument of `import_module`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE_ROOTS = (ROOT, ROOT / "clients", ROOT / "protos")
PRODUCT = ("coordinator", "edge_node", "zonelock_client", "zonelock_cli", "zonelock_sim", "zonelock", "chaos")
NOT_PRODUCT = ("tests", "benchmarks", "conftest", "pytest", "hypothesis", "chaos")
PROTOCOL = "zonelock.v1"

# What the core may use of the standard library: nothing that reads a clock, the machine, a file, a socket or chance.
PURE_LIBRARY = frozenset(
    (
        "__future__",
        "abc",
        "bisect",
        "collections",
        "collections.abc",
        "contextlib",
        "copy",
        "dataclasses",
        "enum",
        "fractions",
        "functools",
        "graphlib",
        "hashlib",
        "heapq",
        "itertools",
        "json",
        "math",
        "operator",
        "re",
        "string",
        "struct",
        "types",
        "typing",
    )
)
# Builtins that do I/O, or whose result differs between two runs of the same history.
IMPURE_BUILTINS = frozenset({"open", "print", "input", "hash", "id", "eval", "exec", "__import__", "breakpoint"})
RPC_LIBRARIES = ("grpc", "google.protobuf", "google.rpc")


@dataclass(frozen=True, slots=True)
class Rule:
    """What the files of one part may import of this project, and of others' libraries where that is limited."""

    part: str
    may: tuple[str, ...] = ()
    # Only inside a function or under TYPE_CHECKING: for parts that start another one on demand.
    may_lazily: tuple[str, ...] = ()
    # None: any library. A tuple: these (prefixes) and the standard library.
    libraries: tuple[str, ...] | None = None


# The first rule whose part is the module or a package around it applies: particular ones stand first.
RULES = (
    Rule("coordinator.core", libraries=()),
    # They choose the core before anything imports it.
    Rule("coordinator.compiled", libraries=()),
    Rule("coordinator.compiling", ("coordinator.compiled",), libraries=()),
    Rule("coordinator.floor", ("coordinator.core",)),
    Rule("coordinator.tls"),
    Rule("coordinator.store", ("coordinator.core", "coordinator.tls")),
    Rule("coordinator.durable_file", ()),
    Rule("coordinator.audit_archive", ()),
    Rule("coordinator.pending_stops", ("coordinator.core", "coordinator.durable_file")),
    Rule("coordinator.high_water", ("coordinator.core", "coordinator.durable_file")),
    Rule("coordinator.stop_output", ("coordinator.core",)),
    Rule(
        "coordinator.safeguards",
        ("coordinator.core", "coordinator.high_water", "coordinator.pending_stops", "coordinator.stop_output"),
    ),
    Rule("coordinator.batches", ("coordinator.core", "coordinator.store.port")),
    Rule("coordinator.outlets", ("coordinator.core",)),
    Rule("coordinator.standby", ("coordinator.core", "coordinator.safeguards", "coordinator.store.port")),
    Rule(
        "coordinator.runtime",
        (
            "coordinator.batches",
            "coordinator.audit_archive",
            "coordinator.core",
            "coordinator.high_water",
            "coordinator.hooks",
            "coordinator.outlets",
            "coordinator.pending_stops",
            "coordinator.safeguards",
            "coordinator.standby",
            "coordinator.stop_output",
            "coordinator.store.port",
            "coordinator.store.codec",
        ),
    ),
    Rule(
        "coordinator.rpc",
        ("coordinator.core", "coordinator.floor", "coordinator.runtime", "coordinator.tls", PROTOCOL),
    ),
    Rule("coordinator.web", ("coordinator.core", "coordinator.floor", "coordinator.rpc.watch", PROTOCOL)),
    Rule("coordinator.upkeep", ("coordinator.store.etcd", "coordinator.store.etcd_client")),
    Rule("coordinator.store_view", ("coordinator.store.etcd", "coordinator.store.etcd_client", PROTOCOL)),
    Rule("coordinator.config", ("coordinator.core", "coordinator.floor", "coordinator.tls")),
    Rule("coordinator.hooks", ("coordinator.core",)),
    Rule("coordinator.observe", ("coordinator.core", "coordinator.hooks")),
    Rule("coordinator.metrics", ("coordinator.compiled", "coordinator.core", "coordinator.observe")),
    Rule("coordinator"),
    Rule("edge_node.channels", libraries=("numpy",)),
    Rule("edge_node.ring", ("edge_node.channels",), libraries=("numpy",)),
    Rule("edge_node.dsp", ("edge_node.channels", "edge_node.findings")),
    Rule("edge_node.drift", ("edge_node.channels", "edge_node.findings")),
    Rule("edge_node.messages", ("edge_node.findings", PROTOCOL)),
    Rule("edge_node.snapshots", ("edge_node.channels", "edge_node.findings", "edge_node.messages", PROTOCOL)),
    Rule("edge_node.sources", ("edge_node.channels",), libraries=("asyncua", "numpy", "scipy")),
    Rule("edge_node.link", ("edge_node", "zonelock_client", PROTOCOL)),
    Rule("edge_node", ("coordinator.core", PROTOCOL)),
    Rule(
        "zonelock_client.testing",
        ("zonelock_client", PROTOCOL),
        may_lazily=("coordinator.app", "coordinator.config", "coordinator.floor"),
        libraries=RPC_LIBRARIES,
    ),
    Rule("zonelock_client", (PROTOCOL,), libraries=RPC_LIBRARIES),
    # A run on virtual time is a whole site in one process, driven by the simulator's loop and network.
    Rule("zonelock_sim.memory_store", ("coordinator.store.port",)),
    Rule(
        "zonelock_sim.virtual",
        ("coordinator.floor", "zonelock_client", "zonelock_sim", PROTOCOL),
        may_lazily=("chaos.sim", "coordinator.core.model", "coordinator.rpc", "coordinator.runtime"),
    ),
    Rule(
        "zonelock_sim",
        ("coordinator.floor", "zonelock_client", PROTOCOL),
        may_lazily=("chaos.chronicle", "coordinator.app", "coordinator.config", "coordinator.store.local_etcd"),
    ),
    Rule(
        "zonelock_cli",
        ("coordinator.floor", "zonelock_client", "zonelock_sim", PROTOCOL),
        may_lazily=(
            "chaos.chronicle",
            "coordinator.app",
            "coordinator.compiled",
            "coordinator.config",
            "coordinator.core.rejections",
            "coordinator.store.local_etcd",
            "coordinator.tls",
            "edge_node",
        ),
    ),
    Rule("zonelock", libraries=RPC_LIBRARIES),
)


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name: `from a.b import c` yields `a.b.c`, because c may be a module."""

    name: str
    line: int
    lazy: bool


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def imports_of(module: str, source: str, *, is_package: bool = False) -> list[Import]:
    package = module if is_package else module.rpartition(".")[0]

    def names(node: ast.AST) -> Iterator[str]:
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():
                base = package.rsplit(".", node.level - 1)[0] if node.level else ""
                origin = ".".join(part for part in (base, node.module or "") if part)
                yield from (f"{origin}.{alias.name}" for alias in node.names)
            case ast.Call(args=[ast.Constant(value=str() as name), *_]) if "import_module" in ast.unparse(node.func):
                yield name

    def walk(node: ast.AST, lazy: bool) -> Iterator[Import]:
        for name in names(node):
            yield Import(name, getattr(node, "lineno", 0), lazy)
        for child in ast.iter_child_nodes(node):
            guarded = isinstance(node, ast.If) and is_type_checking(node.test) and child in node.body
            in_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, lazy or guarded or in_function)

    return list(walk(ast.parse(source), False))


def rule_for(module: str) -> Rule | None:
    return next((rule for rule in RULES if within(module, rule.part)), None)


def objection(rule: Rule, found: Import) -> str | None:
    """Why the rule forbids the import; None when it allows it."""
    name = found.name
    excepted = found.lazy and any(within(name, allowed) for allowed in rule.may_lazily)
    if not excepted and any(within(name, outside) for outside in NOT_PRODUCT):
        return "product code never imports tests, benchmarks, chaos or test tools"
    if any(within(name, part) for part in PRODUCT):
        if within(name, rule.part) or any(within(name, allowed) for allowed in rule.may):
            return None
        if any(within(name, allowed) for allowed in rule.may_lazily):
            return None if found.lazy else "allowed only inside a function or under TYPE_CHECKING"
        return f"{rule.part} may import only {', '.join((rule.part, *rule.may, *rule.may_lazily))} of this project"
    if rule.part == "coordinator.core":
        module = name if name in PURE_LIBRARY else name.rpartition(".")[0]
        return None if module in PURE_LIBRARY else "the core uses only the pure part of the standard library"
    if rule.libraries is None or name.partition(".")[0] in sys.stdlib_module_names:
        return None
    if any(within(name, library) for library in rule.libraries):
        return None
    return f"{rule.part} may use only {', '.join(rule.libraries) or 'nothing'} beside the standard library"


def impure_calls(source: str) -> list[str]:
    return [
        f"{node.lineno}: calls {node.func.id}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_BUILTINS
    ]


def violations(module: str, source: str, *, is_package: bool = False) -> list[str]:
    if module.rpartition(".")[2] == "app":
        return []
    rule = rule_for(module)
    if rule is None:
        return [f"{module}: no rule covers this module; add its part to RULES in {Path(__file__).name}"]
    problems = []
    for found in imports_of(module, source, is_package=is_package):
        why = objection(rule, found)
        if why is not None:
            problems.append(f"{module}:{found.line}: imports {found.name}: {why}")
    if rule.part == "coordinator.core":
        problems += [f"{module}:{call}(): the core is pure and deterministic" for call in impure_calls(source)]
    return problems


def product_files() -> list[tuple[str, Path]]:
    """Every module of the product with its file, generated code left out."""
    files = []
    for root in SOURCE_ROOTS:
        for top in PRODUCT:
            for path in sorted((root / top).rglob("*.py")):
                generated = path.stem.endswith(("_pb2", "_pb2_grpc")) or path.name == "generate.py"
                # chaos drives everything, real processes included: it is a shell around the product.
                if not generated and top != "chaos":
                    parts = path.relative_to(root).with_suffix("").parts
                    files.append((".".join(parts).removesuffix(".__init__"), path))
    return files


def test_every_module_imports_only_what_its_part_may_know() -> None:
    files = product_files()
    assert len(files) > 5, "found hardly any module: has the layout changed?"
    problems = [
        problem
        for module, path in files
        for problem in violations(module, path.read_text("utf-8"), is_package=path.name == "__init__.py")
    ]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("coordinator.core.grants", "import time"),
        ("coordinator.core.grants", "from os import urandom"),
        ("coordinator.core.grants", "import grpc"),
        ("coordinator.core.grants", "from collections import OrderedDict\nimport random"),
        ("coordinator.core.grants", "from ..store import port"),
        ("coordinator.core.grants", "def f(zone): return hash(zone)"),
        ("coordinator.store.etcd", "from coordinator.rpc import server"),
        ("coordinator.store.etcd", "from coordinator import runtime"),
        ("coordinator.runtime", "import coordinator.store.etcd"),
        ("coordinator.web.server", "def f():\n    import coordinator.store.sqlite"),
        ("coordinator.rpc.server", "from zonelock_client import connect"),
        ("zonelock_client.session", "from coordinator.floor import Floor"),
        ("zonelock_client.session", "import aiohttp"),
        ("zonelock_client.testing", "from coordinator.app import Coordinator"),
        ("zonelock_cli.serve", "import coordinator.app"),
        ("zonelock_cli.serve", "import importlib\nimportlib.import_module('coordinator.runtime')"),
        ("zonelock_sim.body", "from coordinator.core import machine"),
        ("zonelock_sim.body", "import hypothesis"),
        ("edge_node.gate", "from coordinator.runtime import Runtime"),
    ],
)
def test_a_forbidden_import_is_found(module: str, source: str) -> None:
    assert violations(module, source), f"{module} may not contain: {source}"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("coordinator.core.grants", "from collections.abc import Sequence\nfrom .model import Grant\nimport heapq"),
        ("coordinator.store.etcd", "import grpc\nfrom coordinator.core.effects import Write\nimport asyncio"),
        ("coordinator.app", "import coordinator.web.server"),
        ("zonelock_client.testing", "def f():\n    from coordinator.app import Coordinator"),
        ("zonelock_client.testing", "if TYPE_CHECKING:\n    from coordinator.app import Coordinator"),
        ("zonelock_client.session", "from google.rpc import error_details_pb2\nfrom zonelock.v1 import floor_pb2"),
        ("zonelock_cli.serve", "async def f():\n    import coordinator.app"),
        ("edge_node.gate", "from coordinator.core.registers import merge"),
    ],
)
def test_an_allowed_import_passes(module: str, source: str) -> None:
    assert violations(module, source) == []
