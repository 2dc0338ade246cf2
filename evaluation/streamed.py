"""OfA among a trial's gallery and photos of which only vectors are kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from descriptors.expansion import hits_to_read
from evaluation.galleries import StreamedGallery
from evaluation.scores import Score
from evaluation.stages import StageMemory
from evaluation.streaming import Describer, stream_photos

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.encoding import Progress
    from evaluation.left_out import LeftOut
    from evaluation.prepared import PreparedTrial
    from evaluation.stages import Stage
    from evaluation.trials import StreamedPhotos

__all__ = ["score_streamed"]


def score_streamed(
    prepared: PreparedTrial,
    photos: StreamedPhotos,
    stages: Sequence[Stage],
    progress: Progress,
    left_out: LeftOut,
) -> list[Score]:
    """OfA's scores of each query at each stage; none if no stage is wanted.

    Args:
        prepared: the gallery and queries of a trial.
        photos: searched besides.
        stages: that are measured.
        progress: told which photos are described and which queries are done.
        left_out: told which of the photos cannot be read.
    """
    if not stages:
        return []
    method, encoded = prepared.method, prepared.encoded
    describer = Describer(
        "OfA",
        method.fingerprint(),
        method.settings.dims,
        lambda maps: method.describe_encoded(maps).descriptors,
    )
    folder = Path(encoded.store.address)
    vectors = stream_photos(photos, [describer], encoded.encoder, folder, progress)["OfA"]
    left_out.streamed.update(vectors.unreadable)
    least = 1 + max(
        max(stage.window, hits_to_read(stage.expand, prepared.regions)) for stage in stages
    )
    gallery = StreamedGallery(prepared.documents, vectors, least)
    memory, scores = StageMemory(), list[Score]()
    searcher = prepared.searcher(gallery, memory)
    for done, one in enumerate(prepared.asked, start=1):
        memory.forget()
        gallery.look_for({p for j in one.query.judgements.values() for p in j.positives})
        scores += prepared.score("OfA", one, searcher, stages)
        progress(f"{prepared.trial.name}: OfA", done, len(prepared.asked))
    searcher.close()
    return scores
