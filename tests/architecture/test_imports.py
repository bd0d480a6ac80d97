"""The arrows of docs/architecture.md, kept by reading every import: who may import whom, and each client's one home."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    path for folder in ("services", "flows") for path in (ROOT / folder).rglob("*.py") if path.name != "__init__.py"
)

#: A module under the prefix on the left may import ours under these, and nothing else of ours.
MAY_IMPORT = {
    "services.core": ("services.core",),
    "services.tiler": ("services.core", "services.tiler"),
    "services.inference": ("services.core", "services.inference"),
    "services.training": ("services.core", "services.training"),
    "services.api": ("services.core", "services.api"),
    "services.cli": (
        "services.core",
        "services.tiler",
        "services.inference",
        "services.training",
        "services.api",
        "services.cli",
    ),
    "flows": ("services.core", "services.tiler", "services.inference", "flows"),
}

#: Pure rooms inside core: values and arithmetic, no files, no network, no database.
PURE = (
    "services.core.errors", "services.core.grid", "services.core.aligned", "services.core.records",
    "services.core.names", "services.core.flow", "services.core.model.contract", "services.core.model.preprocess",
)  # fmt: skip
IMPURE = ("services.core.storage", "services.core.catalog", "services.core.raster", "services.core.site")

CLIENT_HOMES = {
    "rasterio": ("services.core.raster",),
    "boto3": ("services.core.storage",),
    "botocore": ("services.core.storage",),
    "sqlalchemy": ("services.core.catalog",),
    "alembic": ("services.core.catalog",),
    "psycopg": ("services.core.catalog",),
    "openvino": ("services.core.model",),
    "onnxruntime": ("services.core.model",),
    "onnx": ("services.core.model", "services.training"),
    "torch": ("services.core.model", "services.training"),
    "sklearn": ("services.training",),
    "nncf": ("services.training",),
    "google": ("services.training",),
    "PIL": ("services.training", "services.api"),
    "simplejpeg": ("services.api",),
    "prefect": ("flows",),
    "typer": ("services.cli",),
    "rich": ("services.cli",),
    "structlog": ("services.core.log",),
    "pyarrow": ("services.core.product",),
    "platformdirs": ("services.core.settings",),
    "fastapi": ("services.api",),
    "starlette": ("services.api",),
    "uvicorn": ("services.api",),
    "prometheus_client": ("services.api",),
    "jwt": ("services.api.oidc",),
}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def inside(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_follow_the_arrows(path):
    name = module_name(path)
    allowed = next(targets for prefix, targets in MAY_IMPORT.items() if inside(name, (prefix,)))
    ours = [target for target in imports_of(path) if target.split(".")[0] in ("services", "flows")]
    assert [target for target in ours if not inside(target, allowed)] == []


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_each_client_stays_at_home(path):
    name = module_name(path)
    strays = [
        t
        for t in imports_of(path)
        if t.split(".")[0] in CLIENT_HOMES and not inside(name, CLIENT_HOMES[t.split(".")[0]])
    ]
    assert strays == []


@pytest.mark.parametrize("path", [p for p in MODULES if inside(module_name(p), PURE)], ids=module_name)
def test_pure_rooms_do_no_io(path):
    assert [target for target in imports_of(path) if inside(target, IMPURE)] == []


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_only_settings_reads_the_environment(path):
    if module_name(path) == "services.core.settings":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    reads = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in ("environ", "getenv")]
    assert [node.lineno for node in reads] == []


#: What takes long to import, one name of each.
HEAVY = {"numpy", "pydantic", "sqlalchemy", "rasterio", "boto3", "openvino", "fastapi"}


def test_every_init_is_empty():
    assert [
        p for p in (ROOT / "services").rglob("__init__.py") if p.read_text().strip() and "storage" not in str(p)
    ] == []


@pytest.mark.parametrize("name", ["api", "inference", "tiler"])
def test_an_entry_point_minds_signals_before_it_loads_its_work(name):
    """As process 1 of a container it would lose a SIGTERM for as long as libraries are being imported."""
    program = f"import sys, services.{name}.__main__; print(*{HEAVY} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
