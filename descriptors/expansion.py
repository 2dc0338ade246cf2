"""Query expansion: the query plus what it found."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

__all__ = ["expand"]


def expand(
    query: Float[Tensor, " D"], found: Float[Tensor, "n D"], alpha: float = 0.0
) -> Float[Tensor, " D"]:
    """The query's descriptor averaged with those of its first hits.

    Args:
        query: unit.
        found: descriptors of the first n hits; of its best region for a re-ranked hit.
        alpha: each hit weighs its cosine with the query to this power; 0 is plain QE.

    Returns:
        Unit; the query itself where nothing was found.

    Source:
        paper section 4.4; METHOD section 5; alpha-QE is Radenovic et al. 2018.
    """
    weights = (found @ query).clamp_min(0) ** alpha
    return functional.normalize(query + (weights[:, None] * found).sum(dim=0), dim=0)
