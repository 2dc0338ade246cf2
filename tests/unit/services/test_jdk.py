"""Which of a machine's JDKs a server gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.services import jdk
from tests.services.errors import ServiceMissing
from tests.services.jdk import find_jdk


def install(folder: Path, release: str | None, says: str = "") -> Path:
    """Something that looks like a JDK: one with a release file, or one that must be asked."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "javac").touch()
    java = folder / "bin" / "java"
    java.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    java.chmod(0o755)
    if release:
        (folder / "release").write_text(f'IMPLEMENTOR="us"\nJAVA_VERSION="{release}"\n')
    return folder


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder with JDKs, and none on the PATH."""
    monkeypatch.setattr(jdk, "_INSTALLED", tmp_path / "jvm")
    monkeypatch.setenv("PATH", "")
    return tmp_path / "jvm"


def test_the_newest_that_fits(installed: Path) -> None:
    for version in ("1.8.0_292", "17.0.15", "21.0.2", "25"):
        install(installed / version, version)
    assert find_jdk(None, least=21, most=99).home == installed / "25"
    assert find_jdk(None, least=17, most=24).home == installed / "21.0.2"


def test_one_without_a_release_file_is_asked(installed: Path) -> None:
    install(installed / "old", None, says='openjdk version "11.0.1" 2018-10-16')
    install(installed / "mute", None)
    assert find_jdk(None, least=8, most=99).major == 11


def test_java_home_is_looked_at_too(installed: Path, tmp_path: Path) -> None:
    install(installed / "21", "21.0.2")
    home = install(tmp_path / "mine", "25.0.1")
    assert find_jdk(home, least=21, most=99).java == home / "bin" / "java"


def test_a_runtime_without_a_compiler_is_none(installed: Path) -> None:
    (install(installed / "jre", "25") / "bin" / "javac").unlink()
    with pytest.raises(ServiceMissing, match=r"from version 21 to 99, and this machine has none"):
        find_jdk(None, least=21, most=99)


def test_what_is_there_is_said_where_nothing_fits(installed: Path) -> None:
    install(installed / "17", "17.0.15")
    with pytest.raises(ServiceMissing, match=r"has 17: install one"):
        find_jdk(None, least=21, most=99)
