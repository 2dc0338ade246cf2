"""The run-time check of annotations under pytest, as mypy reads them: an int is a float too.

Named in pyproject.toml: ``--jaxtyping-packages=…,tests.support.checking.checked``.
"""

from __future__ import annotations

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))

# What a function of the product raises for an argument that its annotation excludes: the check
# above, or torch itself.
REFUSED = (TypeError, RuntimeError)
