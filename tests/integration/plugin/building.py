"""Builds the plugin and runs nodes that have it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.services.elasticsearch import ElasticsearchServer
from tests.services.errors import ServiceMissing
from tests.services.jars import home_for, java_versions, jdk_for
from tests.services.node import node
from tests.services.recipe import free_port
from tests.services.server import KeptProcess

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.services.settings import ServiceSettings

_ROOT = Path(__file__).parents[3]
_PROJECT = _ROOT / "es_plugin"
_LAUNCHER = Path(__file__).parent / "PluginLauncher.java"
_BUILD_S = 900.0


def built(settings: ServiceSettings) -> Path:
    """The zip of the plugin, built where a source is newer.

    Raises:
        ServiceMissing: there is no Maven or JDK, or it cannot be built.
    """
    version = settings.elasticsearch_version
    target = _PROJECT / "target" / version
    sources = [_PROJECT / "pom.xml", *(p for p in (_PROJECT / "src").rglob("*") if p.is_file())]
    newest = max(source.stat().st_mtime for source in sources)
    for made in target.glob("camsearch-*.zip"):
        if made.stat().st_mtime >= newest:
            return made
    maven = shutil.which("mvn")
    if maven is None:
        raise ServiceMissing(
            "The plugin is built by Maven, and there is no mvn: run `python -m tests.services "
            "install`, or install it by hand."
        )
    shutil.rmtree(target, ignore_errors=True)  # else files of deleted sources stay in the jar
    version_word = f"-Delasticsearch.version={version}"
    words = [maven, "--batch-mode", "--quiet", "-f", str(_PROJECT), version_word, "package"]
    java = {**os.environ, "JAVA_HOME": str(jdk_for(settings).home)}
    done = subprocess.run(
        words, env=java, capture_output=True, text=True, check=False, timeout=_BUILD_S
    )
    if done.returncode:
        raise AssertionError(f"The plugin cannot be built:\n{done.stdout}{done.stderr}")
    [made] = target.glob("camsearch-*.zip")
    return made


@contextmanager
def plugin_node(
    folder: Path,
    settings: ServiceSettings,
    said: Mapping[str, Any],
    secrets: Mapping[str, str] = {},
    *,
    installed: bool = True,
) -> Iterator[ElasticsearchServer]:
    """A node that has the plugin.

    Args:
        folder: for everything it writes.
        settings: which version.
        said: settings of elasticsearch.yml.
        secrets: those of its keystore.
        installed: whether it has it.
    """
    home, jdk = home_for(settings), jdk_for(settings)
    port = said.get("http.port") or free_port()
    plugins = folder / "plugins"
    plugins.mkdir(parents=True)
    if installed:
        with zipfile.ZipFile(built(settings)) as made:
            made.extractall(plugins / "camsearch")
    recipe = node(home, jdk, folder, port, settings.java_options)
    config = folder / "config"
    _configure(config, said, secrets)
    release = str(java_versions(settings.elasticsearch_version)[0])
    options = ["--release", release, "-nowarn", "-cp", f"{home}/lib/*", "-d", str(folder)]
    subprocess.run([str(jdk.javac), *options, str(_LAUNCHER)], check=True, capture_output=True)
    # As tests.services.node starts it, with our launcher at the end.
    options = list(recipe.start[: recipe.start.index("-cp")])
    launched = ["-cp", str(folder), "PluginLauncher", str(config), str(home / "modules")]
    recipe = replace(recipe, start=(*options, *launched, str(plugins)))
    with ElasticsearchServer(f"http://127.0.0.1:{port}", KeptProcess(folder, recipe)) as started:
        yield started


def _configure(config: Path, said: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
    written = config / "elasticsearch.yml"
    lines = dict(line.split(": ", 1) for line in written.read_text().splitlines())
    lines |= {name: json.dumps(value) for name, value in said.items()}
    written.write_text("".join(f"{name}: {value}\n" for name, value in lines.items()))
    (config / "secrets.properties").write_text("".join(f"{k}={v}\n" for k, v in secrets.items()))
