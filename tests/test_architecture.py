"""Architecture kept by tests, not by goodwill; `make check` runs import-linter beside them."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT / "descriptors").with_suffix("").parts)
    for path in (ROOT / "descriptors").rglob("*.py")
    if path.stem != "__init__"
)


@cache
def tree(module):
    path = ROOT / "descriptors" / f"{module.replace('.', '/')}.py"
    return ast.parse(path.read_text())


def test_a_public_name_another_module_imports_is_in_all():
    """What one module takes from another is that one's public face."""
    for module in MODULES:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("descriptors."):
                public = importlib.import_module(str(node.module)).__all__
                for alias in node.names:
                    assert alias.name in public, f"{module} imports {alias.name} of {node.module}"


def test_only_settings_read_the_environment():
    for module in MODULES:
        names = {node.attr for node in ast.walk(tree(module)) if isinstance(node, ast.Attribute)}
        assert module == "settings" or not names & {"environ", "getenv"}, module


@pytest.mark.slow
def test_importing_the_method_loads_no_network_no_web_and_no_weights():
    """A fresh process: importing is quick and quiet, heavy libraries wait until they are used."""
    imports = "; ".join(f"import descriptors.{module}" for module in MODULES)
    command = f"import sys; {imports}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"celery", "redis", "elasticsearch", "fastapi", "httpx", "timm", "sklearn"}


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = [one.rstrip("*") for one in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]]
PACKAGED = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]


def test_every_dependency_is_used():
    """What a user must install is used where a user gets, by an import or by name."""
    text = "\n".join(path.read_text() for path in PACKAGED)
    modules: dict[str, list[str]] = {}
    for module, names in packages_distributions().items():
        for name in names:
            modules.setdefault(_normal(name), []).append(module)
    needed = _names(PROJECT["project"]["dependencies"])
    assert "torch" in needed
    idle = [
        name
        for name in needed
        if not any(re.search(rf"\b{module}\b", text) for module in modules[name])
    ]
    assert idle == []


def test_every_import_is_of_a_declared_dependency():
    """Not of one that comes with another's, which may do without it tomorrow."""
    extras = PROJECT["project"]["optional-dependencies"]
    declared = set(_names(PROJECT["project"]["dependencies"]))
    declared |= {name for extra in extras if extra != "dev" for name in _names(extras[extra])}
    pinned = _names((ROOT / "constraints.txt").read_text().splitlines())
    providers = packages_distributions()
    imported = {name for path in PACKAGED for name in _imports(path)}
    assert {"torch", "httptools"} <= imported
    unknown = {
        name
        for name in imported - {*PACKAGES, *sys.stdlib_module_names}
        if not {_normal(one) for one in providers.get(name, [])} & declared & {*pinned}
    }
    assert unknown == set()


def _imports(path):
    """The first parts of what a file imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    parts = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.split(".")[0] for name in (*plain, *parts) if name}


def _names(requirements):
    return [_normal(re.split(r"[^\w.-]", one)[0]) for one in requirements]


def _normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()
