"""Compare networks on the same trials: mAP by stage, and what an image costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from evaluation.ablation import measure_cost
from evaluation.encoding import encode_images
from evaluation.runs import evaluate_trials
from evaluation.trials import all_images

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from descriptors.encoder import Encoder
    from descriptors.settings import RegionSettings
    from evaluation.ablation import Cost
    from evaluation.runs import About, Evaluation
    from evaluation.trials import Progress, Trial

__all__ = ["ComparedNetwork", "compare_networks"]


@dataclass(frozen=True)
class ComparedNetwork:
    """What was measured with one network.

    Attributes:
        evaluation: of OfA.
        cost: of an image.
        index_bytes: of an image's vectors in an index, its windows included.
    """

    evaluation: Evaluation
    cost: Cost
    index_bytes: int


def compare_networks(  # noqa: PLR0913 - all that a run is of
    encoders: Sequence[Encoder],
    trials: Sequence[Trial],
    about: About,
    regions: RegionSettings,
    cache: Path,
    progress: Progress,
    *,
    preset_name: str,
    learned: Sequence[int],
) -> dict[str, ComparedNetwork]:
    """Measure OfA with each network, by the network's name.

    Args:
        encoders: the networks, each with its own settings.
        learned: for each network the number of classes to learn; 0 for its own.
        trials, about, regions, cache, progress, preset_name: see `evaluate_trials`.

    Raises:
        RequestError: see `evaluate_trials`.
    """
    found = {}
    for encoder, count in zip(encoders, learned, strict=True):
        name, settings = encoder.loaded.name, encoder.settings

        def show(what: str, done: int, of: int, name: str = name) -> None:
            progress(f"{name}: {what}", done, of)

        evaluation = evaluate_trials(
            trials,
            about,
            encoder,
            regions,
            cache,
            show,
            preset_name=preset_name,
            systems=("OfA",),
            learned=count,
        )
        # The network's name in the column of systems, since the system is the same.
        rows = tuple(replace(row, system=name) for row in evaluation.rows)
        encoded = replace(encode_images(all_images(trials), encoder, cache, show), learned=count)
        # The descriptor has 4 bytes per number, and each window one.
        index_bytes = (4 + settings.windows) * settings.dims
        found[name] = ComparedNetwork(
            replace(evaluation, rows=rows), measure_cost(encoded, trials[0]), index_bytes
        )
    return found
