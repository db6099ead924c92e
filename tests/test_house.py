"""The house itself: packaging, floors, versions, documents. What a reader of the repository relies on."""

from __future__ import annotations

import ast
import configparser
import fnmatch
import importlib
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PYPROJECT["tool"]["setuptools"]["packages"]
FOLDERS: dict[str, str] = PYPROJECT["tool"]["setuptools"]["package-dir"]
UPPER = (
    "data", "calculations", "parsers", "workchains", "queries", "provenance", "audit", "volume", "pauses", "report", "cli",
)  # fmt: skip
"""Rooms of floors 6 to 10."""

HEAVY = ("torch", "schnetpack", "pyscf", "sklearn", "openmm")


def folder_of(package: str) -> Path:
    """Folder on disk of an importable package, through setuptools' mapping."""
    if package in FOLDERS:
        return ROOT / FOLDERS[package]
    return ROOT / package.replace(".", "/")


def modules() -> dict[str, Path]:
    """Every module of the project by its import name."""
    found = {}
    for package in PACKAGES:
        for path in sorted(folder_of(package).glob("*.py")):
            found[package if path.stem == "__init__" else f"{package}.{path.stem}"] = path
    return found


def tracked() -> list[Path]:
    """Files of the repository; without git, those that git would track."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        return [path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file()]
    found = []
    for folder, folders, files in os.walk(ROOT):  # never into ignored folders, where other tests come and go
        folders[:] = [name for name in folders if not ignored(Path(folder, name))]
        found += [path for name in files if not ignored(path := Path(folder, name))]
    return found


def ignored(path: Path) -> bool:
    """Whether .gitignore names a part of the path."""
    patterns = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()]
    parts = path.relative_to(ROOT).parts
    return ".git" in parts or any(fnmatch.fnmatch(part, pattern) for part in parts for pattern in patterns)


def test_the_packages_listed_are_the_packages_on_disk() -> None:
    on_disk = set()
    for name, folder in FOLDERS.items():
        for path in (ROOT / folder).rglob("__init__.py"):
            on_disk.add(".".join([name, *path.parent.relative_to(ROOT / folder).parts]))
    assert set(PACKAGES) == on_disk
    assert sorted(PACKAGES) == PACKAGES


def test_every_file_of_a_package_is_installed() -> None:
    patterns: dict[str, list[str]] = PYPROJECT["tool"]["setuptools"]["package-data"]
    installed = set(modules().values())
    for package, globs in patterns.items():
        for pattern in globs:
            installed |= {path for path in folder_of(package).glob(pattern) if path.is_file()}
    inside = [path for path in tracked() if any(path.is_relative_to(folder_of(name)) for name in PACKAGES)]
    assert inside
    assert not [str(path.relative_to(ROOT)) for path in inside if path not in installed]


@pytest.mark.parametrize("group", sorted(PYPROJECT["project"]["entry-points"]))
def test_entry_points_are_installed_and_load(group: str) -> None:
    host = {"openmmml.potentials": "openmmml"}.get(group, "aiida")
    if importlib.util.find_spec(host) is None:
        pytest.skip(f"{host} is not installed")
    promised = PYPROJECT["project"]["entry-points"][group]
    installed = {entry.name: entry for entry in importlib.metadata.entry_points(group=group)}
    for name, target in promised.items():
        assert installed[name].value == target
        assert installed[name].load().__module__ == target.split(":")[0]


def test_entry_points_are_of_the_kind_their_group_promises() -> None:
    from aiida.engine import CalcJob, WorkChain
    from aiida.orm import Data
    from aiida.parsers import Parser

    kinds = {"aiida.data": Data, "aiida.calculations": CalcJob, "aiida.parsers": Parser, "aiida.workflows": WorkChain}
    for group, entries in PYPROJECT["project"]["entry-points"].items():
        for target in entries.values() if group in kinds else ():
            module, name = target.split(":")
            assert issubclass(getattr(importlib.import_module(module), name), kinds[group])


@pytest.mark.parametrize("name", sorted(PYPROJECT["project"]["scripts"]))
def test_console_scripts_name_something_callable(name: str) -> None:
    module, attribute = PYPROJECT["project"]["scripts"][name].split(":")
    assert callable(getattr(importlib.import_module(module), attribute))


def test_one_version_everywhere() -> None:
    version = PYPROJECT["project"]["version"]
    assert importlib.import_module("aiida_hqe").__version__ == version
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_citation_names_the_four_source_papers() -> None:
    references = yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]
    identifiers = {identifier["value"] for reference in references for identifier in reference["identifiers"]}
    papers = {"arXiv:2503.03928", "arXiv:2504.01187", "arXiv:2505.03213", "arXiv:2010.11610"}
    assert identifiers == papers
    readme = (ROOT / "README.md").read_text()
    assert not [paper for paper in papers if paper.removeprefix("arXiv:") not in readme]


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_room_loads_nothing_else(package: str) -> None:
    statements = ast.parse((folder_of(package) / "__init__.py").read_text()).body
    imported = [ast.unparse(node) for node in statements if isinstance(node, (ast.Import, ast.ImportFrom))]
    allowed = {"aiida_hqe.cli": ["from aiida_hqe.cli.root import main"]}
    assert imported == allowed.get(package, [])


@pytest.mark.parametrize("name", ["calculations", "parsers", "workchains"])
def test_a_mapped_folder_refuses_to_be_imported_a_second_time(name: str) -> None:
    command = [sys.executable, "-c", f"import {name}"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert f"aiida_hqe.{name}" in ended.stderr.splitlines()[-1]


def test_every_room_stands_under_the_rule_of_its_floor() -> None:
    """Of the rooms that the floors name, the upper ones must leave heavy packages alone, and the others aiida."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    floors, science, light = (
        contracts[f"importlinter:contract:{name}"] for name in ("floors", "science-without-aiida", "light-upper-floors")
    )
    rooms = {name for name in floors["layers"].split() if name not in ":|"}
    assert rooms == {parts[1] for name in modules() if len(parts := name.split(".")) > 1}
    assert set(light["source_modules"].split()) == {f"aiida_hqe.{room}" for room in UPPER}
    assert set(science["source_modules"].split()) == {f"aiida_hqe.{room}" for room in rooms.difference(UPPER)}


def test_floors_6_to_10_load_no_heavy_package() -> None:
    names = [name for name in modules() if len(parts := name.split(".")) > 1 and parts[1] in UPPER]
    assert len(names) > len(UPPER)
    script = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        f"    loaded = [heavy for heavy in {HEAVY!r} if heavy in sys.modules]\n"
        "    if loaded: sys.exit(f'{name} loads {loaded}')\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr.strip()


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_module_says_what_it_is_and_stays_readable(name: str) -> None:
    text = modules()[name].read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{name} has no docstring"
    assert text.count("\n") <= 400
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    assert not [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= 60]


@pytest.mark.parametrize("name", sorted(modules()))
def test_no_handler_catches_everything(name: str) -> None:
    handlers = [
        node for node in ast.walk(ast.parse(modules()[name].read_text())) if isinstance(node, ast.ExceptHandler)
    ]
    kinds = [ast.unparse(node.type) if node.type else "everything" for node in handlers]
    assert not {"everything", "Exception", "BaseException"} & set(kinds)


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    homes = re.compile(r"(?<![\w.])/(?:home|Users|root|work|mnt|opt)/\w")
    found = []
    for path in tracked():
        if path.suffix in {".png", ".h5", ".safetensors", ".gz", ".zip", ".aiida"}:
            continue
        text = path.read_text(encoding="utf-8", errors="strict")
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in homes.finditer(text)]
    assert not found


def test_every_make_command_that_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]
    for document in documents:
        named = re.findall(r"(?:^|`)make ([a-z-]+)", document.read_text(), flags=re.MULTILINE)
        assert set(named) <= targets, document.name


def test_links_between_documents_resolve() -> None:
    broken = []
    for document in [path for path in tracked() if path.suffix == ".md"]:
        for target in re.findall(r"\]\(([^)\s]*[./#][^)\s]*)\)", document.read_text()):
            path, _, anchor = target.partition("#")
            if "://" in target or target.startswith("mailto:"):
                continue
            there = (document.parent / path).resolve() if path else document
            if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
                broken.append(f"{document.relative_to(ROOT)}: {target}")
    assert not broken


def test_documents_that_the_code_names_exist() -> None:
    named = {name for path in modules().values() for name in re.findall(r"docs/[\w-]+\.md", path.read_text())}
    assert named
    assert not [name for name in named if not (ROOT / name).is_file()]


def anchors(document: Path) -> set[str]:
    """Anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
