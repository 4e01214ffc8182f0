"""The direction of imports: the rooms of the core stand in a row, and nothing imports what stands behind it."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

CORE = Path(__file__).parents[1] / "front_onnx"
ROW = (
    "version",
    "keywords",
    "errors",
    "read",
    "types",
    "store",
    "pictures",
    "axes",
    "operators",
    "constants",
    "blocks",
    "dims",
    "understand",
    "trainable",
    "transform",
    "roles",
    "streams",
    "methods",
    "plan",
    "provenance",
    "write",
    "check",
    "summary",
    "gene",
    "match",
    "session",
    "samples",
    "calibration",
    "api",
    "into",
    "learngenes",
    "folders",
    "comparison",
    "report",
    "commands",
)
MODULES = {
    ".".join(("front_onnx", *path.relative_to(CORE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in CORE.rglob("*.py")
}


def imports(module: str) -> Iterator[str]:
    """The modules of the core that a module imports, be it for its types alone."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("front_onnx"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("front_onnx"))


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_room_has_its_place() -> None:
    assert {room(module) for module in MODULES} - {"", "__main__"} == set(ROW)


def test_no_import_runs_upwards() -> None:
    upwards = [
        f"{module} imports {other}"
        for module in MODULES
        if room(module) in ROW
        for other in imports(module)
        if room(other) in ROW and ROW.index(room(other)) > ROW.index(room(module))
    ]
    assert not upwards


def test_no_modules_import_each_other_in_a_circle() -> None:
    TopologicalSorter({module: set(imports(module)) - {module} for module in MODULES}).prepare()


def test_adapters_are_imported_by_commands_alone() -> None:
    users = {
        room(module) for module in MODULES if any(other.startswith("front_onnx.adapters") for other in imports(module))
    }
    assert users <= {"commands"}
