"""Pictures into a gallery: read, describe in batches, write. A plain function, no queue.

sources -> known already? -> read + decode (threads) -> batches of one shape
-> network (the calling thread) -> maps and documents (writer thread)
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

from jaxtyping import UInt8
from torch import Tensor

from descriptors.errors import CamsearchError, FeaturelessImage, ImageError
from descriptors.images import ImageLimits, read_image, to_working_size
from descriptors.settings import MethodSettings
from es_mappings.documents import Document, PictureClass, Reject, check_document
from es_mappings.errors import MalformedDocument
from es_mappings.features import KeptMaps, pack, unpack
from indexer.progress import Progress
from indexer.sources import MalformedRow, Source, SourceUnreadable, read_source, source_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from descriptors.arrays import Described, Size
    from descriptors.method import Method
    from es_mappings.documents import Gallery
    from es_mappings.features import FeatureStore

__all__ = [
    "IndexingPlan",
    "Prepared",
    "Refused",
    "batches_of_one_shape",
    "encode_documents",
    "index_pictures",
    "prepare_pictures",
]

_LOOK_UP = 256  # sources looked up in the gallery at once
_PENDING_WRITES = 2  # batches that may wait for the writer


@dataclass(frozen=True)
class IndexingPlan:
    """How to index.

    Attributes:
        batch_size: pictures a forward pass.
        readers: threads that read and decode.
        limits: what is refused unread.
        again: encode what has not changed, too.
        retry_rejects: try pictures again that were refused before and have not changed.
        class_names: by class number, for the documents.
    """

    batch_size: int = 8
    readers: int = 4
    limits: ImageLimits = ImageLimits()
    again: bool = False
    retry_rejects: bool = False
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """A picture that has been read and is ready for the network."""

    source: Source
    tag: str
    digest: str
    size: Size
    pixels: UInt8[Tensor, "3 h w"]


@dataclass(frozen=True)
class Refused:
    """A picture that could not be read."""

    source: Source
    tag: str
    error: CamsearchError


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
    run = _Run(method, gallery, features, plan)
    encoder = method.encoder
    with ThreadPoolExecutor(1, "write") as writer:
        writes: deque[Future[None]] = deque()
        try:
            for batch in batches_of_one_shape(run.readable(sources), plan.batch_size):
                described = method.describe_images(encoder.prepare([p.pixels for p in batch]))
                writes.append(writer.submit(run.write, batch, described))
                while len(writes) > _PENDING_WRITES:
                    writes.popleft().result()
                on_progress(run.progress)
        finally:
            while writes:
                writes.popleft().result()
            run.write_rejects()
    on_progress(run.progress)
    return run.progress


class _Run:
    """The state of one call of `index_pictures`."""

    def __init__(
        self,
        method: Method,
        gallery: Gallery,
        features: FeatureStore | None,
        plan: IndexingPlan,
    ) -> None:
        self.method, self.gallery, self.features = method, gallery, features
        self.plan, self.progress = plan, Progress()
        # A deque, since the writer's thread adds to it while the calling thread empties it.
        self._refused: deque[Refused] = deque()

    def readable(self, sources: Iterable[Source]) -> Iterator[Prepared]:
        """The pictures to describe, read; what cannot be read is noted as refused."""
        for outcome in prepare_pictures(self.fresh(sources), self.method.settings, self.plan):
            if isinstance(outcome, Refused):
                self._refused.append(outcome)
                if len(self._refused) >= _LOOK_UP:
                    self.write_rejects()
            elif not self._only_touched(outcome):
                yield outcome

    def _only_touched(self, picture: Prepared) -> bool:
        """Whether the gallery holds these very bytes; then only what is said of them is renewed."""
        source = picture.source
        known = {} if self.plan.again else self.gallery.known([source.id])
        if source.id not in known or known[source.id].digest != picture.digest:
            return False
        if not _can_be_held(source):
            return False  # the writer refuses it
        document = self.gallery.get([source.id])[source.id]
        renewed = replace(document, uri=source.uri, meta=source.meta, source_tag=picture.tag)
        self.gallery.put([renewed])
        self.progress.updated += 1
        return True

    def fresh(self, sources: Iterable[Source]) -> Iterator[Source]:
        """The sources that must be read; the others are counted and their metadata renewed."""
        stream = iter(sources)
        while chunk := list(islice(stream, _LOOK_UP)):
            self.progress.asked += len(chunk)
            ids = [s.id for s in chunk]
            known = {} if self.plan.again else self.gallery.known(ids)
            refused = {} if self.plan.retry_rejects else self.gallery.known_rejects(ids)
            renewed: dict[str, Mapping[str, Any]] = {}
            for source in chunk:
                tag = _tag(source)
                _, known_tag, known_meta = known.get(source.id, ("", "", {}))
                if tag and tag == refused.get(source.id):
                    self.progress.rejected += 1
                elif not tag or tag != known_tag or not _can_be_held(source):
                    yield source
                elif known_meta != source.meta:
                    renewed[source.id] = source.meta
                else:
                    self.progress.unchanged += 1
            self.gallery.put_meta(renewed)
            self.progress.updated += len(renewed)

    def write_rejects(self) -> None:
        """Write the refused pictures noted so far."""
        refused = [self._refused.popleft() for _ in range(len(self._refused))]
        # A share that is not mounted must not empty the gallery: only what was read and
        # refused takes the place of a document.
        unread = [r.source.id for r in refused if isinstance(r.error, SourceUnreadable)]
        staying = self.gallery.known(unread)
        rejects = [_reject(r) for r in refused if r.source.id not in staying]
        self.gallery.put_rejects(rejects)
        if self.features is not None:
            self.features.delete([reject.id for reject in rejects])
        self.progress.rejected += len(rejects)
        self.progress.out_of_reach += len(refused) - len(rejects)

    def write(self, batch: Sequence[Prepared], described: Described) -> None:
        """Maps first, then documents: a document never stands without its maps."""
        documents: dict[str, Document] = {}
        written = 0
        for row, prepared in enumerate(batch):
            document = self._document(prepared, described, row)
            try:
                _check(document, self.gallery.dims)
            except (FeaturelessImage, MalformedDocument) as error:
                self._refused.append(Refused(prepared.source, prepared.tag, error))
            else:
                documents[document.id] = document
                written += 1
        if self.features is not None:
            packed = zip(batch, pack(described.encoded, [p.digest for p in batch]), strict=True)
            self.features.put({p.source.id: m for p, m in packed if p.source.id in documents})
        self.gallery.put(list(documents.values()))
        self.progress.indexed += written

    def _document(self, prepared: Prepared, described: Described, row: int) -> Document:
        source = prepared.source
        return Document(
            id=source.id,
            uri=source.uri,
            digest=prepared.digest,
            width=prepared.size.width,
            height=prepared.size.height,
            descriptor=described.descriptors[row].float().cpu().numpy(),
            classes=_classes(described, row, self.plan.class_names),
            meta=source.meta,
            source_tag=prepared.tag,
            indexed_at=_now(),
        )


def _tag(source: Source) -> str:
    """What changes when the picture changes or, where the id does not say it, its address."""
    tag = source_tag(source.uri)
    return f"{tag} {source.uri}" if tag and source.id != source.uri else tag


def _can_be_held(source: Source) -> bool:
    """Whether a gallery can hold what the source says; if not, it goes the way to a reject."""
    try:
        json.dumps(source.meta, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError):
        return False
    return source.problem is None


def _check(document: Document, dims: int) -> None:
    if not document.descriptor.any():
        raise FeaturelessImage("The network sees nothing in this picture: leave it out.")
    check_document(document, dims)


def prepare_pictures(
    sources: Iterable[Source], settings: MethodSettings, plan: IndexingPlan
) -> Iterator[Prepared | Refused]:
    """Read, decode and resize pictures in threads; answers come in the order of the sources."""
    stream = iter(sources)
    with ThreadPoolExecutor(plan.readers, "read") as readers:
        waiting: deque[Future[Prepared | Refused]] = deque()
        try:
            while True:
                for source in islice(stream, 2 * plan.batch_size - len(waiting)):
                    waiting.append(readers.submit(_prepare, source, settings, plan.limits))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _prepare(source: Source, settings: MethodSettings, limits: ImageLimits) -> Prepared | Refused:
    tag = _tag(source)
    try:
        if source.problem is not None:
            raise source.problem
        data = read_source(source.uri, limits)
        picture = read_image(data, limits, reduce_to=settings.side)
        pixels = to_working_size(picture, settings)
    except (ImageError, SourceUnreadable, MalformedRow) as error:
        return Refused(source, tag, error)
    return Prepared(source, tag, hashlib.sha256(data).hexdigest(), picture.size, pixels)


def batches_of_one_shape(prepared: Iterable[Prepared], batch_size: int) -> Iterator[list[Prepared]]:
    """Group pictures by shape, so that each group is one array.

    Convention:
        Full groups come as they fill. When more than 16 batches' worth of pictures wait in
        part-filled groups the largest goes out, so memory stays bounded.
    """
    waiting: dict[tuple[int, ...], list[Prepared]] = defaultdict(list)
    held = 0
    for picture in prepared:
        group = waiting[tuple(picture.pixels.shape)]
        group.append(picture)
        held += 1
        if len(group) == batch_size or held > 16 * batch_size:
            shape = max(waiting, key=lambda s: len(waiting[s]))
            held -= len(waiting[shape])
            yield waiting.pop(shape)
    yield from waiting.values()


def encode_documents(
    documents: Sequence[Document], method: Method, plan: IndexingPlan
) -> dict[str, KeptMaps]:
    """Maps of documents whose maps are not kept, from their pictures, in batches.

    Returns:
        Maps by id; a picture that cannot be read any more is left out.
    """
    sources = [Source(d.id, d.uri) for d in documents]
    prepared = (
        p for p in prepare_pictures(sources, method.settings, plan) if isinstance(p, Prepared)
    )
    maps: dict[str, KeptMaps] = {}
    for batch in batches_of_one_shape(prepared, plan.batch_size):
        encoded = method.encoder.encode(method.encoder.prepare([p.pixels for p in batch]))
        packed = pack(encoded, [p.digest for p in batch])
        maps |= {p.source.id: unpack(data) for p, data in zip(batch, packed, strict=True)}
    return maps


def _reject(refused: Refused) -> Reject:
    error = refused.error
    kind = getattr(error, "kind", "malformed_document")
    source = refused.source
    return Reject(source.id, source.uri, kind, error.reason, refused.tag, _now())


def _classes(described: Described, row: int, names: tuple[str, ...]) -> tuple[PictureClass, ...]:
    numbers = described.classes[row].tolist()
    probabilities = described.probabilities[row].tolist()
    return tuple(
        PictureClass(names[n] if n < len(names) else str(n), round(p, 6))
        for n, p in zip(numbers, probabilities, strict=True)
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
