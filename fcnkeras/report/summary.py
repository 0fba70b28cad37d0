"""What the numbers of the experiments say, in sentences computed from them."""

from __future__ import annotations

from collections.abc import Sequence

from fcnkeras.report.results import Experiment

ORIGINAL = 1  # the number of the original network among the experiments
OURS = 10  # native aspect


def percent(share: float) -> str:
    """0.915 as `91.5%`."""
    return f"{100 * share:.1f}%"


def headline(experiments: Sequence[Experiment]) -> list[str]:
    """Says which experiment is best, and how the original network and ours compare.

    Whether a difference is more than chance is judged by the 95% intervals alone: where they
    overlap, nothing is claimed.

    Args:
        experiments: Those that are finished.

    Returns:
        One to five sentences, plain text.
    """
    if not experiments:
        return ["No experiment is finished yet."]
    top = max(e.accuracy for e in experiments)
    best = [e for e in experiments if e.accuracy == top]
    by_number = {e.number: e for e in experiments}
    sentences = [_best(best, len(experiments))]
    original, ours = by_number.get(ORIGINAL), by_number.get(OURS)
    if original is None:
        sentences.append(
            "Experiment 1, the original network, is not finished: nothing to compare with."
        )
    elif len(experiments) > 1:
        sentences += _against_original(original, best, experiments)
    if ours is not None and ours not in best:
        sentences.append(
            f"Experiment {OURS}, ours ({ours.title}), does not win: {_figures(ours)}, "
            f"{_points(top - ours.accuracy)} behind the best; {_verdict(ours, best[0])}."
        )
    if len(experiments) > 2:
        sentences.append(
            "The best of several is picked by the very pictures that measure it, so its own "
            "figure is a little flattering."
        )
    return sentences


def _best(best: Sequence[Experiment], count: int) -> str:
    first = best[0]
    pictures = f"{first.n_test:,} test pictures"
    if len(best) > 1:
        numbers = ", ".join(str(e.number) for e in best[:-1])
        return (
            f"Experiments {numbers} and {best[-1].number} share the first place of {count}: "
            f"{_figures(first)} of {pictures} right."
        )
    place = "Only" if count == 1 else f"Best of {count}:"
    verb = " is finished" if count == 1 else ""
    return (
        f"{place} experiment {first.number} ({first.title}){verb}: {_figures(first)} of {pictures} "
        "right."
    )


def _against_original(
    original: Experiment, best: Sequence[Experiment], experiments: Sequence[Experiment]
) -> list[str]:
    others = [e for e in experiments if e is not original]
    if original in best:
        rival = max(others, key=lambda e: e.accuracy)
        if rival in best:
            first = "The original network (experiment 1) is among the best: no change beats it."
        else:
            first = (
                "The original network (experiment 1) wins: no change beats it. Next comes "
                f"experiment {rival.number} ({rival.title}) with {_figures(rival)}; "
                f"{_verdict(original, rival)}."
            )
    else:
        first = (
            f"Experiment 1, the original network, has {_figures(original)}, "
            f"{_points(best[0].accuracy - original.accuracy)} less; {_verdict(original, best[0])}."
        )
    clear = [e for e in others if not e.overlaps(original)]
    above = sum(e.accuracy > original.accuracy for e in clear)
    below = len(clear) - above
    second = (
        f"Against experiment 1, of the other {len(others)}, {above} lie clearly above, "
        f"{below} clearly below, and {len(others) - len(clear)} overlap with it."
    )
    return [first, second] if len(others) > 1 else [first]


def _figures(e: Experiment) -> str:
    return f"{percent(e.accuracy)} (95% interval {100 * e.low:.1f}–{100 * e.high:.1f}%)"


def _points(difference: float) -> str:
    return f"{100 * difference:.1f} points"


def _verdict(one: Experiment, other: Experiment) -> str:
    if one.overlaps(other):
        return "the intervals overlap, so these pictures alone do not settle which is better"
    return "the intervals do not overlap, so chance hardly explains the difference"
