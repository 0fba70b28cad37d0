"""AADB, photographs with a score and eleven attributes (Kong et al., ECCV 2016)."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fcnkeras.data.columns import ScoreColumn
from fcnkeras.data.records import Collection, DataError
from fcnkeras.data.splits import id_of
from fcnkeras.data.tables import Check, PathLike, read_table

FILES = {
    "train": "imgListTrainRegression_.csv",
    "val": "imgListValidationRegression_.csv",
    "test": "imgListTestNewRegression_.csv",
}
# The first is spelled so in the published files.
ATTRIBUTES = (
    ScoreColumn("balancing_elements", -1, 1, column="BalacingElements"),
    ScoreColumn("color_harmony", -1, 1, column="ColorHarmony"),
    ScoreColumn("content", -1, 1, column="Content"),
    ScoreColumn("depth_of_field", -1, 1, column="DoF"),
    ScoreColumn("light", -1, 1, column="Light"),
    ScoreColumn("motion_blur", -1, 1, column="MotionBlur"),
    ScoreColumn("object", -1, 1, column="Object"),
    ScoreColumn("repetition", 0, 1, column="Repetition"),
    ScoreColumn("rule_of_thirds", -1, 1, column="RuleOfThirds"),
    ScoreColumn("symmetry", 0, 1, column="Symmetry"),
    ScoreColumn("vivid_color", -1, 1, column="VividColor"),
)
COLUMNS = (*ATTRIBUTES, ScoreColumn("score", 0, 1))


def read_aadb(
    folder: PathLike,
    roots: PathLike | Mapping[str, PathLike] | None = None,
    *,
    disjoint: bool = True,
    check: Check = "exists",
) -> dict[str, Collection]:
    """Reads the three label files of AADB.

    The published lists share 127 pictures between validation and test. A model that is chosen on
    pictures of the test flatters itself, so these are taken out of the validation part.

    Args:
        folder: The folder of the label files, named as in `FILES`.
        roots: The folder of the pictures, or one for each part. By default `folder`.
        disjoint: `False` leaves the lists as they were published.
        check: See `tables.read_table`.

    Returns:
        The parts "train", "val" and "test", with the targets of `COLUMNS`.

    Raises:
        DataError: See `tables.read_table`.
    """
    if isinstance(roots, Mapping):
        if unknown := sorted(set(FILES) ^ set(roots)):
            raise ValueError(f"roots must name train, val and test, got {unknown} too many or few")
        root_of = dict(roots)
    else:
        root_of = dict.fromkeys(FILES, folder if roots is None else roots)
    parts = {
        part: read_table(
            Path(folder, name), COLUMNS, file="ImageFile", root=root_of[part], check=check
        )
        for part, name in FILES.items()
    }
    if disjoint:
        tested = {id_of(record) for record in parts["test"].records}
        kept = tuple(record for record in parts["val"].records if id_of(record) not in tested)
        if not kept:
            raise DataError("some validation picture must not be a test picture, all of them are")
        parts["val"] = replace(parts["val"], records=kept)
    return parts
