"""Pictures into a gallery: read, describe in batches, write. A plain function, no queue.

sources -> known already? -> read + decode (threads) -> batches of one shape
-> network (the calling thread) -> maps and documents (writer thread)
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from descriptors.errors import FeaturelessImage
from es_mappings.documents import (
    Document,
    Known,
    PictureClass,
    Ready,
    Reject,
    check_json,
    check_meta,
)
from es_mappings.errors import DocumentsRefused, MalformedDocument
from es_mappings.features import KeptMaps, pack, unpack
from indexer.errors import SourceUnreadable
from indexer.progress import Progress
from indexer.reading import (
    IndexingPlan,
    Prepared,
    Refused,
    batches_of_one_shape,
    prepare_pictures,
    refusal_tag,
    tag_of,
    would_be_refused,
)
from indexer.sources import Source, id_of_address
from indexer.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from descriptors.arrays import Described
    from descriptors.method import Method
    from descriptors.settings import MethodSettings
    from es_mappings.documents import Gallery, IndexedPicture
    from es_mappings.features import FeatureStore

    _Work = tuple[Sequence[Prepared], Described]
    # Documents, source and tag by id, how many pictures they stand for, and the packed maps that
    # theirs replaced.
    _Ready = tuple[Mapping[str, Ready], Mapping[str, tuple[Source, str]], int, Mapping[str, bytes]]

__all__ = ["Run", "encode_documents", "index_pictures", "now", "reject_of"]

_LOOK_UP = 256  # sources looked up in the gallery at once
_UNKNOWN = Known("", "", {}, -1)
_STAYS = "The version that was indexed before stays."


def index_pictures(
    sources: Iterable[Source],
    method: Method,
    gallery: Gallery,
    features: FeatureStore | None = None,
    plan: IndexingPlan | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Index pictures; each ends in the gallery as a document or as a reject with its reason.

    Args:
        sources: any number; they are read as a stream.
        method: describes them.
        gallery: takes the documents, a transaction a batch.
        features: takes the maps, written before the document that needs them.
        plan: see `IndexingPlan`.
        on_progress: called after each batch from the calling thread.

    Returns:
        The counts. If it is interrupted, what was counted as done is kept.
    """
    plan = plan or IndexingPlan()
    run = Run(gallery, features, plan)
    encoder = method.encoder
    try:
        with Writer(run.keep_maps, run.write) as writer:
            for batch in batches_of_one_shape(
                run.readable(sources, method.settings), plan.batch_size
            ):
                described = method.describe_images(encoder.prepare([p.pixels for p in batch]))
                writer.put((batch, described))
                on_progress(run.progress)
    finally:
        run.write_rejects()
    on_progress(run.progress)
    return run.progress


class Run:
    """The state of one call of `index_pictures`: all of it but the network."""

    def __init__(self, gallery: Gallery, features: FeatureStore | None, plan: IndexingPlan) -> None:
        """Begin with nothing done."""
        self.gallery, self.features = gallery, features
        self.plan, self.progress = plan, Progress()
        # Of documents that are there and whose pictures may have changed.
        self._digests: dict[str, str] = {}
        # The ids of those that are read again: their maps are put back if they are refused.
        self._held: set[str] = set()
        # Of pictures that were refused before and are tried again.
        self._rejected: set[str] = set()
        # A deque, since the writer's thread adds to it while the calling thread empties it.
        self._refused: deque[Refused] = deque()

    def readable(self, sources: Iterable[Source], settings: MethodSettings) -> Iterator[Prepared]:
        """The pictures to describe, read; what cannot be read is noted as refused."""
        for outcome in prepare_pictures(self.fresh(sources), settings, self.plan):
            if isinstance(outcome, Refused):
                self._refused.append(outcome)
                if len(self._refused) >= _LOOK_UP:
                    self.write_rejects()
            elif not self._only_touched(outcome):
                yield outcome

    def _only_touched(self, picture: Prepared) -> bool:
        """Whether the gallery holds these very bytes; then only what is said of them is renewed."""
        source = picture.source
        if self._digests.pop(source.id, None) != picture.digest:
            return False
        document = self.gallery.get([source.id]).get(source.id)
        if document is None or document.digest != picture.digest:
            return False  # somebody else was faster
        renewed = replace(
            document,
            uri=source.uri,
            meta=source.meta,
            source_tag=picture.tag,
            revision=max(document.revision, source.revision),
        )
        try:
            self.gallery.put([renewed])
        except DocumentsRefused as error:
            problem = MalformedDocument(error.reasons[source.id])
            self._refused.append(Refused(source, picture.tag, problem))
        else:
            self.progress.updated += 1
        return True

    def fresh(self, sources: Iterable[Source]) -> Iterator[Source]:
        """The sources that must be read; the others are counted and their metadata renewed."""
        stream = iter(sources)
        while chunk := list(islice(stream, _LOOK_UP)):
            self.progress.asked += len(chunk)
            known, refused = self._looked_up([s.id for s in chunk if s.id])
            latest = _latest_revisions(chunk)
            renewed: dict[str, Mapping[str, Any]] = {}
            said: dict[str, tuple[Source, str]] = {}
            for source in chunk:
                tag = tag_of(source)
                there = _UNKNOWN if self.plan.again else known.get(source.id, _UNKNOWN)
                if not self.plan.retry_rejects and self._would_be_refused(source, tag, refused):
                    self.progress.rejected += 1
                elif max(there.revision, latest.get(source.id, -1)) > source.revision:
                    self.progress.unchanged += 1  # a later write was faster, or comes as well
                elif (
                    not tag
                    or tag != there.source_tag
                    or source.id in refused  # the write clears its reject
                    or not _can_be_held(source)
                ):
                    if source.id in known:
                        self._digests[source.id] = there.digest
                        self._held.add(source.id)
                    yield source
                elif there.meta != source.meta:
                    renewed[source.id] = source.meta
                    said[source.id] = source, tag
                    self.progress.updated += 1
                else:
                    self.progress.unchanged += 1
            newest = max((s.revision for s in chunk if s.id in renewed), default=0)
            try:
                self.gallery.put_meta(renewed, newest)
            except DocumentsRefused as error:
                self.progress.updated -= len(error.reasons)
                for id_, reason in error.reasons.items():
                    self._refused.append(Refused(*said[id_], MalformedDocument(reason)))

    def _looked_up(self, ids: Sequence[str]) -> tuple[Mapping[str, Known], Mapping[str, str]]:
        """What the gallery knows of some ids, and the tags of those that were refused before."""
        known, refused = self.gallery.known_and_rejects(ids)
        self._rejected |= refused.keys()
        return known, refused

    def _would_be_refused(self, source: Source, tag: str, refused: Mapping[str, str]) -> bool:
        """Whether nothing has changed of what an earlier run refused."""
        made_of = refused.get(source.id, "")
        return would_be_refused(source, tag, made_of, self.plan.limits, self.gallery.meta_mapping)

    def write_rejects(self) -> None:
        """Write the refused pictures noted so far."""
        refused = [self._refused.popleft() for _ in range(len(self._refused))]
        # No refusal loses what was there: its document, vector and maps stay.
        staying = self.gallery.known([r.source.id for r in refused])
        rejects = [
            self._reject(r, stays=r.source.id in staying)
            for r in refused
            if not (isinstance(r.error, SourceUnreadable) and r.source.id in staying)
        ]
        # Another picture of this run may have the same id, and clears the reject then.
        self._rejected |= {reject.id for reject in rejects}
        self.gallery.put_rejects(rejects)
        if self.features is not None:
            self.features.delete([one.id for one in rejects if one.id not in staying])
        self.progress.rejected += len(rejects)
        self.progress.out_of_reach += len(refused) - len(rejects)

    def _reject(self, refused: Refused, *, stays: bool) -> Reject:
        source, error = refused.source, refused.error
        # What could not be read says nothing of the picture: it is read again at the next run.
        unread = isinstance(error, SourceUnreadable)
        made_of = refusal_tag(source, refused.tag, self.plan.limits, self.gallery.meta_mapping)
        reason = f"{error.reason} {_STAYS}" if stays else error.reason
        kind = getattr(error, "kind", "malformed_document")
        return reject_of(source, kind, reason, "" if unread else made_of)

    def keep_maps(self, work: _Work) -> _Ready:
        """Keep the maps of a batch, and return the documents that will need them.

        Convention:
            Maps first, then documents: a document never stands without its maps. What is
            returned is small, so many may wait to be written together; and all that can be
            done before the writing is, while the writer waits for its store.
        """
        batch, described = work
        said = {p.source.id: (p.source, p.tag) for p in batch}
        ready = self._made_ready(self._good_documents(batch, described), said)
        replaced: Mapping[str, bytes] = {}
        if self.features is not None:
            replaced = self.features.packed([id_ for id_ in ready if id_ in self._held])
            digests = [p.digest for p in batch]
            packed = zip(
                batch, pack(described.encoded, digests, coarse=self.plan.coarse_maps), strict=True
            )
            self.features.put({p.source.id: m for p, m in packed if p.source.id in ready})
        return ready, said, sum(p.source.id in ready for p in batch), replaced

    def _made_ready(
        self, documents: Sequence[Document], said: Mapping[str, tuple[Source, str]]
    ) -> dict[str, Ready]:
        """Documents by id but those that no gallery can hold, which are noted as refused."""
        try:
            return {d.document.id: d for d in self.gallery.make_ready(documents)}
        except MalformedDocument as error:
            if len(documents) == 1:
                self._refused.append(Refused(*said[documents[0].id], error))
                return {}
        # One by one now, and not always, since hardly ever one is.
        alone = (self._made_ready([document], said) for document in documents)
        return {id_: ready for one in alone for id_, ready in one.items()}

    def write(self, ready: Sequence[_Ready]) -> None:
        """Write the documents of some batches."""
        documents: dict[str, Ready] = {}
        said: dict[str, tuple[Source, str]] = {}
        replaced: dict[str, bytes] = {}
        written = 0
        for some, about, count, earlier in ready:
            documents |= some
            said |= about
            written += count
            # The earliest maps of an id are those of the document that is there.
            replaced = {**earlier, **replaced}
        rejected = [id_ for id_ in documents if id_ in self._rejected]
        refused: Mapping[str, str] = {}
        try:
            self.gallery.put_ready(list(documents.values()), rejected)
        except DocumentsRefused as error:
            refused = error.reasons
        # No refusal loses what was there.
        put_back = {id_: maps for id_, maps in replaced.items() if id_ in refused}
        if self.features is not None and put_back:
            self.features.put(put_back)
        for id_, why in refused.items():
            self._refused.append(Refused(*said[id_], MalformedDocument(why)))
        self._held -= documents.keys()
        self.progress.indexed += written - len(refused)

    def _good_documents(self, batch: Sequence[Prepared], described: Described) -> list[Document]:
        """The documents of a batch; where the network saw nothing it is noted as refused."""
        descriptors = described.descriptors.float().cpu().numpy()
        classes = _classes(described, self.plan.class_names)
        seen = np.count_nonzero(descriptors, axis=1)
        at, documents = now(), []
        for row, prepared in enumerate(batch):
            if not seen[row]:
                error = FeaturelessImage("The network sees nothing in this picture: leave it out.")
                self._refused.append(Refused(prepared.source, prepared.tag, error))
                continue
            document = Document(
                id=prepared.source.id,
                uri=prepared.source.uri,
                digest=prepared.digest,
                width=prepared.size.width,
                height=prepared.size.height,
                descriptor=descriptors[row],
                classes=classes[row],
                meta=prepared.source.meta,
                source_tag=prepared.tag,
                revision=prepared.source.revision,
                indexed_at=at,
            )
            documents.append(document)
        return documents


def _latest_revisions(sources: Sequence[Source]) -> dict[str, int]:
    """The latest revision of each id: batches are of one shape, so an earlier one may come last."""
    latest: dict[str, int] = {}
    for source in sources:
        if source.id:
            latest[source.id] = max(source.revision, latest.get(source.id, -1))
    return latest


def _can_be_held(source: Source) -> bool:
    """Whether a gallery can hold what the source says; if not, it goes the way to a reject."""
    return source.problem is None and _passes(check_meta, source)


def _passes(check: Callable[[str, Mapping[str, Any]], None], source: Source) -> bool:
    try:
        check(source.id, source.meta)
    except MalformedDocument:
        return False
    return True


def encode_documents(
    documents: Sequence[IndexedPicture], method: Method, plan: IndexingPlan
) -> dict[str, KeptMaps]:
    """Maps of documents whose maps are not kept, from their pictures, in batches.

    Returns:
        Maps by id; a picture that cannot be read any more, or is another than was indexed, is
        left out.
    """
    sources = [Source(d.id, d.uri) for d in documents]
    digests = {d.id: d.digest for d in documents}
    # Whoever writes a document could else have any file compared that this machine can read.
    prepared = (
        p
        for p in prepare_pictures(sources, method.settings, plan)
        if isinstance(p, Prepared) and p.digest == digests[p.source.id]
    )
    maps: dict[str, KeptMaps] = {}
    for batch in batches_of_one_shape(prepared, plan.batch_size):
        encoded = method.encoder.encode(method.encoder.prepare([p.pixels for p in batch]))
        packed = pack(encoded, [p.digest for p in batch])
        maps |= {p.source.id: unpack(data) for p, data in zip(batch, packed, strict=True)}
    return maps


def reject_of(source: Source, kind: str, reason: str, tag: str = "") -> Reject:
    """A reject that every gallery can hold, whatever the source holds.

    Args:
        source: of the picture; one whose id cannot be held is listed under its digest.
        kind, reason: see `Reject`.
        tag: of `refusal_tag`; "" to try the picture again at the next run.
    """
    meta = source.meta if _passes(check_json, source) else {}
    id_ = id_of_address(source.id or source.uri)
    return Reject(id_, _text(source.uri), kind, _text(reason), _text(tag), now(), meta)


def _text(text: str) -> str:
    """Text that UTF-8 can hold: lone surrogates are written as escapes."""
    return text.encode(errors="backslashreplace").decode()


def _classes(described: Described, names: tuple[str, ...]) -> list[tuple[PictureClass, ...]]:
    """The best classes of each picture of a batch; probabilities with six digits."""
    probabilities = (described.probabilities.double() * 1e6).round() / 1e6
    return [
        tuple(
            PictureClass(names[n] if n < len(names) else str(n), p)
            for n, p in zip(*row, strict=True)
        )
        for row in zip(described.classes.tolist(), probabilities.tolist(), strict=True)
    ]


def now() -> str:
    """The time as documents have it, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
