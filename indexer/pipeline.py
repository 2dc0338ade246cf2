"""Index images into a gallery.

sources -> skip what is indexed -> read + decode (threads) -> batches of one shape
-> network (the calling thread) -> maps and documents (writer threads)
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from descriptors.errors import CamsearchError, FeaturelessImage
from galleries.checks import check_meta
from galleries.documents import Document, Known, Reject
from galleries.errors import DocumentsRefused, MalformedDocument
from galleries.gallery import CheckedDocument
from galleries.kept_maps import pack
from indexer.documents import documents_of, make_reject, passes
from indexer.errors import SourceUnreadable
from indexer.progress import Progress
from indexer.reading import (
    IndexingPlan,
    Prepared,
    Refused,
    batches_of_one_shape,
    prepare_images,
    refusal_tag,
    tag_of,
    would_be_refused,
)
from indexer.sources import Source, in_pages
from indexer.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from descriptors.arrays import Described
    from descriptors.method import Method
    from descriptors.settings import MethodSettings
    from galleries.features import FeatureStore
    from galleries.gallery import Writable

__all__ = ["Run", "index_sources"]

_LOOK_UP = 256  # sources looked up in the gallery at once
_UNKNOWN = Known("", "", {}, -1)
_STAYS = "The version indexed before is kept."


def index_sources(
    sources: Iterable[Source],
    method: Method,
    gallery: Writable,
    features: FeatureStore | None = None,
    plan: IndexingPlan | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Index images; each becomes a document, or a reject with a reason.

    Args:
        sources: read as a stream.
        method: computes descriptors and maps.
        gallery: receives the documents.
        features: receives the maps, each before its document.
        plan: see `IndexingPlan`.
        on_progress: called after each batch from the calling thread.

    Returns:
        The counts. If interrupted, the images counted so far are in the gallery.
    """
    run = Run(gallery, features, plan := plan or IndexingPlan())
    try:
        with Writer(run.keep_maps, run.write) as writer:
            readable = run.readable(sources, method.settings)
            for batch in batches_of_one_shape(readable, plan.batch_size):
                pixels = method.encoder.prepare([p.pixels for p in batch])
                writer.put((batch, method.describe_images(pixels)))
                on_progress(run.progress)
    finally:
        run.write_rejects()
    on_progress(run.progress)
    return run.progress


class _Kept(NamedTuple):
    """A document whose maps are stored; small, so that many can be written in one call."""

    source: Source
    tag: str
    ready: CheckedDocument
    maps_before: bytes | None = None


class Run:
    """One call of `index_sources`, except for the network.

    Convention:
        A refused image never removes its earlier version.
    """

    def __init__(
        self, gallery: Writable, features: FeatureStore | None, plan: IndexingPlan
    ) -> None:
        self.gallery, self.features = gallery, features
        self.plan, self.progress = plan, Progress()
        # Digests of indexed documents whose images are read again.
        self._there: dict[str, str] = {}
        # Ids of rejects that are retried.
        self._rejected: set[str] = set()
        # A deque, since the writer thread appends to it while the calling thread drains it.
        self._refused: deque[Refused] = deque()

    def readable(self, sources: Iterable[Source], settings: MethodSettings) -> Iterator[Prepared]:
        """The images to describe; unreadable ones are recorded as refused."""
        for outcome in prepare_images(self.fresh(sources), settings, self.plan):
            if isinstance(outcome, Refused):
                self._refused.append(outcome)
                if len(self._refused) >= _LOOK_UP:
                    self.write_rejects()
            elif not self._only_touched(outcome):
                yield outcome

    def fresh(self, sources: Iterable[Source]) -> Iterator[Source]:
        """The sources that must be read; others are counted, and changed metadata is written."""
        for page in in_pages(sources, _LOOK_UP):
            self.progress.asked += len(page)
            known, refused = self.gallery.known([s.id for s in page if s.id])
            self._rejected |= refused.keys()
            latest = _latest_revisions(page)
            renewed: dict[str, Source] = {}
            for source in page:
                tag = tag_of(source)
                there = _UNKNOWN if self.plan.again else known.get(source.id, _UNKNOWN)
                if self._would_be_refused(source, tag, refused.get(source.id, "")):
                    self.progress.rejected += 1
                elif max(there.revision, latest.get(source.id, -1)) > source.revision:
                    self.progress.unchanged += 1  # a later revision exists, or is in this page
                elif (
                    not tag
                    or tag != there.source_tag
                    or source.id in refused  # the write clears its reject
                    or not _can_be_held(source)
                ):
                    if source.id in known:
                        self._there[source.id] = there.digest
                    yield source
                elif there.meta != source.meta:
                    renewed[source.id] = source
                    self.progress.updated += 1
                else:
                    self.progress.unchanged += 1
            self._renew(renewed)

    def _would_be_refused(self, source: Source, tag: str, made_of: str) -> bool:
        """Whether an earlier run refused this source, and nothing has changed since."""
        if self.plan.retry_rejects:
            return False
        return would_be_refused(source, tag, made_of, self.plan.limits, self.gallery.meta_mapping)

    def _renew(self, sources: Mapping[str, Source]) -> None:
        """Write changed metadata of unchanged images."""
        newest = max((source.revision for source in sources.values()), default=0)
        try:
            self.gallery.put_meta({id_: source.meta for id_, source in sources.items()}, newest)
        except DocumentsRefused as error:
            self.progress.updated -= len(error.reasons)
            for id_, reason in error.reasons.items():
                self._refuse(sources[id_], tag_of(sources[id_]), MalformedDocument(reason))

    def _only_touched(self, image: Prepared) -> bool:
        """Whether the image's bytes are already indexed; then only its document is updated."""
        source, digest = image.source, self._there.get(image.source.id)
        if digest is None:
            return False
        self._there[source.id] = ""  # another image of this run may have the same id
        if digest != image.digest:
            return False
        document = self.gallery.get([source.id]).get(source.id)
        if document is None or document.digest != image.digest:
            return False  # changed by another writer
        renewed = replace(
            document,
            uri=source.uri,
            meta=source.meta,
            source_tag=image.tag,
            revision=max(document.revision, source.revision),
        )
        try:
            self.gallery.put([renewed])
        except DocumentsRefused as error:
            self._refuse(source, image.tag, MalformedDocument(error.reasons[source.id]))
        else:
            self.progress.updated += 1
        return True

    def _refuse(self, source: Source, tag: str, error: CamsearchError) -> None:
        self._refused.append(Refused(source, tag, error))

    def write_rejects(self) -> None:
        """Write the rejects collected so far."""
        refused = [self._refused.popleft() for _ in range(len(self._refused))]
        staying, _ = self.gallery.known([r.source.id for r in refused])
        rejects = [
            self._reject(r, stays=r.source.id in staying)
            for r in refused
            if not (isinstance(r.error, SourceUnreadable) and r.source.id in staying)
        ]
        # A later image of this run with the same id clears the reject.
        self._rejected |= {reject.id for reject in rejects}
        self.gallery.put_rejects(rejects)
        if self.features is not None:
            self.features.delete([one.id for one in rejects if one.id not in staying])
        self.progress.rejected += len(rejects)
        self.progress.out_of_reach += len(refused) - len(rejects)

    def _reject(self, refused: Refused, *, stays: bool) -> Reject:
        source, error = refused.source, refused.error
        # An image that could not be read is retried in the next run.
        unread = isinstance(error, SourceUnreadable)
        made_of = refusal_tag(source, refused.tag, self.plan.limits, self.gallery.meta_mapping)
        kind = getattr(error, "kind", "malformed_document")
        reason = f"{error.reason} {_STAYS}" if stays else error.reason
        return make_reject(source, kind, reason, "" if unread else made_of)

    def keep_maps(self, work: tuple[Sequence[Prepared], Described]) -> list[_Kept]:
        """Store the maps of a batch, and return its documents ready to be written.

        Convention:
            Maps are stored before documents, so that no document is without its maps.
        """
        batch, described = work
        kept = self._made_ready(list(self._documents(batch, described)))
        if self.features is None:
            return kept
        ids = {one.source.id for one in kept}
        before = self.features.packed([id_ for id_ in ids if id_ in self._there])
        packed = pack(described.encoded, [p.digest for p in batch], coarse=self.plan.coarse_maps)
        maps = zip(batch, packed, strict=True)
        self.features.put({p.source.id: data for p, data in maps if p.source.id in ids})
        return [one._replace(maps_before=before.get(one.source.id)) for one in kept]

    def _documents(
        self, batch: Sequence[Prepared], described: Described
    ) -> Iterator[tuple[Prepared, Document]]:
        """The documents of a batch; images without features are recorded as refused."""
        made = documents_of(batch, described, self.plan.class_names)
        for image, document in zip(batch, made, strict=True):
            if document is None:
                error = FeaturelessImage("The network finds no features: leave this image out.")
                self._refuse(image.source, image.tag, error)
            else:
                yield image, document

    def _made_ready(self, documents: Sequence[tuple[Prepared, Document]]) -> list[_Kept]:
        """Serialize documents; those that no gallery can store are recorded as refused."""
        try:
            ready = self.gallery.make_ready([document for _, document in documents])
        except MalformedDocument as error:
            if len(documents) > 1:  # find the malformed one
                return [kept for document in documents for kept in self._made_ready([document])]
            self._refuse(documents[0][0].source, documents[0][0].tag, error)
            return []
        images = (image for image, _ in documents)
        return [_Kept(i.source, i.tag, one) for i, one in zip(images, ready, strict=True)]

    def write(self, batches: Sequence[Sequence[_Kept]]) -> None:
        """Write the documents of several batches in one call."""
        kept = [one for batch in batches for one in batch]
        latest = {one.source.id: one for one in kept}
        refused: Mapping[str, str] = {}
        try:
            rejected = [id_ for id_ in latest if id_ in self._rejected]
            self.gallery.put_ready([one.ready for one in latest.values()], rejected)
        except DocumentsRefused as error:
            refused = error.reasons
        self._put_back([one for one in kept if one.source.id in refused])
        for id_, why in refused.items():
            self._refuse(latest[id_].source, latest[id_].tag, MalformedDocument(why))
        for id_ in latest:
            self._there.pop(id_, None)
        self.progress.indexed += len(kept) - len(refused)

    def _put_back(self, refused: Sequence[_Kept]) -> None:
        """Restore the maps of documents that are kept: the earliest ones of each id."""
        maps = {o.source.id: o.maps_before for o in reversed(refused) if o.maps_before is not None}
        if self.features and maps:
            self.features.put(maps)


def _latest_revisions(sources: Sequence[Source]) -> dict[str, int]:
    """The latest revision of each id; batching by shape may reorder sources."""
    ascending = sorted(sources, key=lambda source: source.revision)
    return {source.id: source.revision for source in ascending if source.id}


def _can_be_held(source: Source) -> bool:
    """Whether the source is valid; otherwise it becomes a reject."""
    return source.problem is None and passes(check_meta, source)
