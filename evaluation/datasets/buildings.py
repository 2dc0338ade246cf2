"""Oxford5k and Paris6k, from their ground-truth text files.

A query ``<landmark>_<n>`` has four files: ``_query.txt`` (an image's name, with the prefix
``oxc1_`` in Oxford's, and x0 y0 x1 y1 in pixels), ``_good.txt``, ``_ok.txt`` and
``_junk.txt`` (a name per line). Names are those of the images without ``.jpg``.

Source:
    Philbin et al. 2007 and 2008; good and ok are positive, junk is removed from the ranking,
    and the query's own image stays in the gallery, where it is one of the good.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from descriptors.errors import RequestError
from evaluation.datasets.files import (
    DatasetSource,
    box_of,
    find_files,
    image_folder,
    images_of,
    incomplete_note,
    paths_within,
    read_words,
    require,
    stems,
    unreadable_note,
)
from evaluation.trials import DatasetQuery, Judgement, Trial

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from descriptors.arrays import Box
    from evaluation.datasets.facts import ImageFacts
    from evaluation.datasets.files import DatasetRequest, FoundImages
    from evaluation.trials import DatasetImage

__all__ = ["OXFORD", "PARIS", "Buildings", "read_buildings"]

_CORRUPT = "corrupt.txt"

# Folders of distractors that are often unpacked beside the images.
_DISTRACTORS = frozenset(["oxc1_100k", "revisitop1m"])
_PREFIX = "oxc1_"
_QUERY = "_query.txt"


@dataclass(frozen=True)
class Buildings:
    """What differs between Oxford and Paris.

    Attributes:
        folders: those that usually have the images.
        truth: the archive of the ground truth.
        fit_on: example of what to fit the whitening on.
        count: of the published images that are not damaged.
        corrupt: whether some files of its archives are not images.
    """

    source: DatasetSource
    folders: tuple[str, ...]
    truth: str
    fit_on: str
    count: int
    corrupt: bool

    def images(self, root: Path, facts: ImageFacts) -> FoundImages:
        """The images, with or without a ground truth.

        Raises:
            RequestError: if there are none, or one is damaged that should not be.
        """
        folder = image_folder(root, self.folders)
        left_out = _corrupt_names(root) if self.corrupt else frozenset()
        within = paths_within(find_files(folder), folder)
        files = [
            file
            for file, path in within.items()
            if file.stem not in left_out and _DISTRACTORS.isdisjoint(path.split("/"))
        ]
        if not files:
            raise self.source.missing(f"images (in {self.folders[0]}, for example)", root)
        found = images_of(paths_within(files, root), facts)
        if not self.corrupt:
            found.all_readable()
        return found


OXFORD = Buildings(
    DatasetSource("Oxford5k", "https://www.robots.ox.ac.uk/~vgg/data/oxbuildings/"),
    folders=("oxbuild_images", "oxbuild_images-v1", "jpg", "images"),
    truth="gt_files_170407.tgz",
    fit_on="paris6k:DIR",
    count=5_062,
    corrupt=False,
)
PARIS = Buildings(
    DatasetSource("Paris6k", "https://www.robots.ox.ac.uk/~vgg/data/parisbuildings/"),
    folders=("paris", "jpg", "images"),
    truth="paris_120310.tgz",
    fit_on="oxford5k:DIR",
    count=6_392,
    corrupt=True,
)


def read_buildings(buildings: Buildings, request: DatasetRequest) -> tuple[Trial, ...]:
    """The one trial of Oxford5k or Paris6k.

    Raises:
        RequestError: for a file or image that is missing or damaged, or nothing to fit on.
    """
    source, root = buildings.source, request.root
    fit = request.fit_images(source, buildings.fit_on)
    found = buildings.images(root, request.facts)
    by_name = stems(found.images, source)
    folder = _truth_folder(buildings, root, by_name)
    gone = _corrupt_names(root).union(PurePosixPath(path).stem for path in found.unreadable)
    boxes = request.asks_boxes("boxes")
    reader = _TruthReader(source, root, folder, by_name, gone)
    queries = tuple(reader.query(path, boxes=boxes) for path in sorted(folder.glob("*" + _QUERY)))
    notes = unreadable_note(found.unreadable, f"the authors list such ones in {_CORRUPT}")
    notes += incomplete_note(source, len(found.images), buildings.count)
    return (Trial("all", fit, found.images, queries, notes=notes),)


@dataclass(frozen=True)
class _TruthReader:
    """Reads the four files of each query.

    Attributes:
        source, root: of the dataset.
        folder: of the files.
        images: by the names in the files.
        gone: names of images that are known to be damaged.
    """

    source: DatasetSource
    root: Path
    folder: Path
    images: Mapping[str, DatasetImage]
    gone: frozenset[str]

    def query(self, path: Path, *, boxes: bool) -> DatasetQuery:
        """One query with what counts as found."""
        name, box = _read_query(path)
        stem = path.name.removesuffix(_QUERY)
        positives = self._names(f"{stem}_good.txt") | self._names(f"{stem}_ok.txt")
        junk = self._names(f"{stem}_junk.txt")
        require({name}, self.images, self.source, self.root)
        if not positives:
            raise RequestError(
                f"{path} has neither a good nor an ok image: unpack the ground truth again."
            )
        judgement = Judgement(self._paths(positives), self._paths(junk))
        return DatasetQuery(self.images[name], box if boxes else None, {"all": judgement}, None)

    def _names(self, name: str) -> frozenset[str]:
        path = self.folder / name
        if not path.is_file():
            raise self.source.missing(f"the file {name} of its ground truth", self.folder)
        return frozenset(read_words(path).split())

    def _paths(self, names: frozenset[str]) -> frozenset[str]:
        """Paths of images; the name of one that is known to be damaged.

        Convention:
            The official evaluator counts every name of its lists, so a damaged image in one is a
            positive that is never found.
        """
        require(names - self.gone, self.images, self.source, self.root)
        return frozenset(self.images[name].path if name in self.images else name for name in names)


def _truth_folder(buildings: Buildings, root: Path, images: Mapping[str, DatasetImage]) -> Path:
    """The folder whose queries are images of this dataset; another's may be beside it."""
    folders = sorted({path.parent for path in root.rglob("*" + _QUERY)})
    fitting = [
        folder
        for folder in folders
        if any(_read_query(path)[0] in images for path in folder.glob("*" + _QUERY))
    ]
    if not fitting:
        raise buildings.source.missing(
            f"its ground truth (files <landmark>_<n>_query.txt, of {buildings.truth})", root
        )
    if len(fitting) > 1:
        raise RequestError(
            f"There are two ground truths of {buildings.source.name} under {root}, in "
            f"{fitting[0]} and {fitting[1]}: keep one."
        )
    return fitting[0]


def _read_query(path: Path) -> tuple[str, Box]:
    """Name of the image, and the box."""
    words = read_words(path).split()
    try:
        name, corners = words[0], [float(word) for word in words[1:]]
        x0, y0, x1, y1 = corners
    except (IndexError, ValueError) as error:
        raise RequestError(
            f"{path} does not say `name x0 y0 x1 y1`: unpack the ground truth again."
        ) from error
    return name.removeprefix(_PREFIX), box_of((x0, y0, x1, y1), str(path))


def _corrupt_names(root: Path) -> frozenset[str]:
    """Names in the authors' list of damaged files, if there is one; without ending."""
    path = root / _CORRUPT
    if not path.is_file():
        return frozenset()
    names = read_words(path).split()
    return frozenset(name.rpartition("/")[2].removesuffix(".jpg") for name in names)
