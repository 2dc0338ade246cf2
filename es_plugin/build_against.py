"""Build the plugin against an unpacked Elasticsearch, for versions that Maven Central lacks.

python es_plugin/build_against.py ELASTICSEARCH-FOLDER

Needs a JDK (JAVA_HOME, or javac on the PATH). The zip has the same contents as Maven's.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

_PROJECT = Path(__file__).parent
# As project.build.outputTimestamp in pom.xml: the same source gives the same bytes.
_TIME = (2026, 1, 1, 0, 0, 0)


def build(distribution: Path) -> Path:
    """The plugin for the version in a folder.

    Raises:
        SystemExit: the folder is no Elasticsearch, or the sources do not compile.
    """
    version = _version(distribution / "lib")
    pom = (_PROJECT / "pom.xml").read_text()
    ours, release = _tag(pom, "version"), _tag(pom, "maven.compiler.release")
    target = _PROJECT / "target" / version
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        classes = Path(scratch) / "classes"
        _compile(distribution / "lib", release, classes)
        jar = _zipped(Path(scratch) / f"camsearch-elasticsearch-{ours}.jar", _tree(classes))
        said = {
            "project.version": ours,
            "maven.compiler.release": release,
            "elasticsearch.version": version,
        }
        files = {jar.name: jar.read_bytes()}
        for path in sorted((_PROJECT / "src/main/plugin").iterdir()):
            files[path.name] = _filled(path.read_text(), said).encode()
        return _zipped(target / f"camsearch-{ours}-elasticsearch-{version}.zip", files)


def _version(lib: Path) -> str:
    for jar in lib.glob("elasticsearch-*.jar"):
        found = re.fullmatch(r"elasticsearch-(\d+\.\d+\.\d+)\.jar", jar.name)
        if found:
            return found[1]
    sys.exit(
        f"{lib} has no elasticsearch-VERSION.jar: name the folder of an unpacked Elasticsearch."
    )


def _tag(pom: str, name: str) -> str:
    found = re.search(f"<{name}>([^<]+)</{name}>", pom)
    if found is None:
        sys.exit(f"pom.xml has no <{name}>.")
    return found[1]


def _compile(lib: Path, release: str, classes: Path) -> None:
    home = os.environ.get("JAVA_HOME")
    javac = str(Path(home) / "bin" / "javac") if home else "javac"
    sources = map(str, sorted((_PROJECT / "src/main/java").rglob("*.java")))
    options = ["--release", release, "-g", "-proc:none", "-cp", f"{lib}/*", "-d", str(classes)]
    if subprocess.run([javac, *options, *sources], check=False).returncode:
        sys.exit(
            "The plugin does not compile against this version: docs/plugin.md lists those that it fits."
        )


def _tree(classes: Path) -> dict[str, bytes]:
    paths = sorted(path for path in classes.rglob("*") if path.is_file())
    return {path.relative_to(classes).as_posix(): path.read_bytes() for path in paths}


def _filled(text: str, said: dict[str, str]) -> str:
    for name, value in said.items():
        text = text.replace(f"${{{name}}}", value)
    return text


def _zipped(to: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(zipfile.ZipInfo(name, _TIME), data, zipfile.ZIP_DEFLATED)
    return to


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004
        sys.exit(__doc__)
    print(build(Path(sys.argv[1])))  # noqa: T201
