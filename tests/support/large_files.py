"""Names files over 5 MB: the repository and the wheel hold none."""

from __future__ import annotations

import sys
from pathlib import Path

LIMIT = 5 * 2**20


def too_large(paths: list[Path]) -> list[Path]:
    return [path for path in paths if path.is_file() and path.stat().st_size > LIMIT]


if __name__ == "__main__":
    found = too_large([Path(name) for name in sys.argv[1:]])
    for path in found:
        sys.stderr.write(f"{path} has more than {LIMIT:,} bytes: leave it out.\n")
    sys.exit(bool(found))
