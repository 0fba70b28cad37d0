"""Paintings: the attributes of their composition, and their artists and periods."""

from collections import defaultdict
from collections.abc import Collection as Values
from collections.abc import Sequence

from fcnkeras.data.columns import CellError, Cells, ClassColumn, HueColumn, ScoreColumn
from fcnkeras.data.records import Collection, DataError
from fcnkeras.data.tables import Check, FileOf, PathLike, read_table

HARMONIES = (
    "analogous",
    "complementary",
    "monochromatic",
    "split complementary",
    "tetradic",
    "triadic",
)
COMPOSITION = (
    ScoreColumn("variety_texture", 1, 10),
    ScoreColumn("variety_shape", 1, 10),
    ScoreColumn("variety_size", 1, 10),
    ScoreColumn("variety_color", 1, 10),
    ScoreColumn("contrast", 1, 10),
    ScoreColumn("repetition", 1, 10),
    HueColumn("primary_color", column="pri_color"),
    ClassColumn("harmony", names=HARMONIES),
)
"""The eight attributes of Holly Grimm's Art Composition Attributes Network (2018)."""


def train_or_test_file(cells: Cells) -> str:
    """The picture of a row of the art-composition table: `train/` or `test/` and its file name."""
    part = {"true": "train", "1": "train", "false": "test", "0": "test"}
    if (folder := part.get(cells["in_train"].lower())) is None:
        raise CellError("in_train", "True or False", cells["in_train"])
    return f"{folder}/{cells['new_filename']}"


def read_art_composition(
    path: PathLike,
    root: PathLike | None = None,
    *,
    file: FileOf = train_or_test_file,
    check: Check = True,
) -> Collection:
    """Reads a table of painting attributes, as the art-composition system has them.

    Its columns are those of `COMPOSITION`, and in_train and new_filename, by which a picture is
    found as `train/<new_filename>` or `test/<new_filename>`. Rows without any attribute are
    passed over: such a table may list a whole collection of which a few hundred are labelled.

    Args:
        path: The CSV file.
        root: The folder that holds `train` and `test`. By default the folder of the file.
        file: Where the picture is instead, see `tables.read_table`.
        check: See `tables.read_table`.

    Returns:
        A `Collection` with the targets of `COMPOSITION`: scores from 1 to 10, the primary colour a
        `columns.Hue`, the harmony a class.

    Raises:
        DataError: See `tables.read_table`.
    """
    sources = [source for column in COMPOSITION for source in column.sources]
    return read_table(
        path,
        COMPOSITION,
        file=file,
        root=root,
        where=lambda cells: any(cells[source] for source in sources),
        check=check,
    )


def read_paintings(
    tables: PathLike | Sequence[PathLike],
    root: PathLike | None = None,
    *,
    artist: str = "artist",
    period: str = "period_or_style",
    file: FileOf = "file",
    artists: Values[str] | None = None,
    at_least: int = 1,
    one_period: bool = False,
    check: Check = True,
) -> Collection:
    """Reads tables that tell the artist and the period, or style, of paintings.

    Args:
        tables: The CSV file or files.
        root: The folder of the pictures. By default the folder of each table.
        artist, period: The columns of the tables.
        file: See `tables.read_table`.
        artists: Only these artists.
        at_least: Only artists with so many pictures, counted in all tables together.
        one_period: Whether an artist with pictures of two periods is an error.
        check: See `tables.read_table`.

    Returns:
        A `Collection` with the classes "artist" and "period".

    Raises:
        DataError: See `tables.read_table`; and see `one_period`.
    """
    collection = read_table(
        tables,
        [ClassColumn("artist", artist), ClassColumn("period", period)],
        file=file,
        root=root,
        where=None if artists is None else {artist: artists},
        at_least={artist: at_least} if at_least > 1 else None,
        check=check,
    )
    if one_period:
        parents(collection, "artist", "period")
    return collection


def parents(collection: Collection, child: str, parent: str) -> tuple[int, ...]:
    """To which class of one target every class of another belongs, such as artists to periods.

    Args:
        collection: Records with both targets; those that lack one say nothing.
        child, parent: The targets.

    Returns:
        The index of the parent by the index of the child.

    Raises:
        DataError: A child has no parent or two.
    """
    found: dict[int, set[int]] = defaultdict(set)
    for record in collection.records:
        if child in record.targets and parent in record.targets:
            found[record.targets[child]].add(record.targets[parent])
    names = collection.names(child)
    wrong = [index for index in range(len(names)) if len(found[index]) != 1]
    if wrong:
        named = [collection.names(parent)[index] for index in sorted(found[wrong[0]])]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise DataError(
            f"every {child} must belong to one {parent}, {names[wrong[0]]} belongs to "
            f"{' and '.join(named) or 'none'}{more}"
        )
    return tuple(next(iter(found[index])) for index in range(len(names)))
