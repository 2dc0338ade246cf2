"""The configuration and the command of an Elasticsearch node made of jars, see `jars`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.services.recipe import Recipe, data_folder, free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.jars import Jdk

_LOGGING = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %-5p %c{1.} %m%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
"""


def node(home: Path, jdk: Jdk, folder: Path, port: int, java_options: str) -> Recipe:
    """A node of its own cluster, with everything it writes below the folder, but perhaps its data."""
    for name in ("config", "logs", "tmp", "snapshots"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    data = data_folder(folder)
    (folder / "config" / "elasticsearch.yml").write_text(_configuration(folder, data, port))
    (folder / "config" / "log4j2.properties").write_text(_LOGGING)
    return Recipe(
        start=(
            str(jdk.java),
            *_memory(java_options),
            *_paths(home, folder),
            *_modules(home, jdk),
            "-cp",
            str(home / "launcher"),
            "NodeLauncher",
            str(folder / "config"),
            str(home / "modules"),
        ),
        forget=("rm", "-rf", str(data), str(folder / "tmp"), str(folder / "snapshots")),
    )


def _configuration(folder: Path, data: Path, port: int) -> str:
    said = {
        "cluster.name": "camsearch-test",
        "node.name": f"node-{port}",
        "discovery.type": "single-node",
        "network.host": "127.0.0.1",
        "http.port": port,
        "transport.port": free_port(),
        "path.home": str(folder),
        "path.data": str(data),
        "path.logs": str(folder / "logs"),
        "path.repo": [str(folder / "snapshots")],
        # Else a disk that is 90 % full, as that of a developer, makes indices read-only.
        "cluster.routing.allocation.disk.threshold_enabled": False,
    }
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in said.items())


def _memory(java_options: str) -> list[str]:
    return [*java_options.split(), "-Xss1m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"]


def _paths(home: Path, folder: Path) -> list[str]:
    properties = {
        "es.path.home": folder,
        "es.nativelibs.path": home / "native",
        "java.io.tmpdir": folder / "tmp",
        "java.awt.headless": "true",
        "file.encoding": "UTF-8",
        "log4j2.configurationFile": folder / "config" / "log4j2.properties",
        "log4j2.disable.jmx": "true",
        # The node writes its last words in a shutdown hook; log4j's own would be quicker.
        "log4j.shutdownHookEnabled": "false",
        # Elastic's own vector library is not published; Lucene's, in Java, takes its place.
        "org.elasticsearch.nativeaccess.enableVectorLibrary": "false",
        "io.netty.noUnsafe": "true",
        "io.netty.noKeySetOptimization": "true",
        "io.netty.recycler.maxCapacityPerThread": "0",
    }
    return [f"-D{key}={value}" for key, value in properties.items()]


def _modules(home: Path, jdk: Jdk) -> list[str]:
    """The server finds its parts as Java modules, so its jars stand on the module path."""
    options = ["--module-path", str(home / "lib"), "--add-modules=ALL-MODULE-PATH"]
    options += ["--add-modules=jdk.net", "--add-modules=jdk.management.agent"]
    if jdk.major >= 21:
        native = ["org.elasticsearch.nativeaccess", "org.apache.lucene.core"]
        if any((home / "lib").glob("elasticsearch-foreign-library-*.jar")):
            native.append("org.elasticsearch.foreign")
        options.append("--add-modules=jdk.incubator.vector")
        options.append(f"--enable-native-access={','.join(native)}")
    return options
