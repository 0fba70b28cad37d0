from fcnkeras.report.results import Experiment
from fcnkeras.report.summary import headline


def experiment(number, accuracy, low, high, title="title"):
    return Experiment(
        number=number, title=title, network="n", fcn=True, feeder="f", size="1", skip=False,
        accuracy=accuracy, low=low, high=high, n_test=1200, best_epoch=None, epochs=None,
        val_accuracy=None, val_loss=None, parameters=None, seconds_per_picture=None,
        training_seconds=None,
    )  # fmt: skip


def test_ours_wins_clearly():
    rows = [
        experiment(1, 0.6, 0.55, 0.65),
        experiment(8, 0.64, 0.6, 0.7),
        experiment(10, 0.9, 0.85, 0.95, "native"),
    ]
    text = headline(rows)
    assert text[0] == (
        "Best of 3: experiment 10 (native): 90.0% (95% interval 85.0–95.0%) of 1,200 test pictures "
        "right."
    )
    assert "has 60.0% (95% interval 55.0–65.0%), 30.0 points less" in text[1]
    assert "the intervals do not overlap" in text[1]
    assert "1 lie clearly above, 0 clearly below, and 1 overlap with it" in text[2]
    assert not any("does not win" in sentence for sentence in text)


def test_ours_does_not_win_and_overlap_is_said():
    rows = [
        experiment(1, 0.6, 0.5, 0.7),
        experiment(4, 0.65, 0.58, 0.75),
        experiment(10, 0.4, 0.3, 0.45, "native"),
    ]
    text = headline(rows)
    assert text[0].startswith("Best of 3: experiment 4")
    assert (
        "5.0 points less; the intervals overlap, so these pictures alone do not settle" in text[1]
    )
    assert "0 lie clearly above, 1 clearly below, and 1 overlap with it" in text[2]
    assert (
        "Experiment 10, ours (native), does not win: 40.0% (95% interval 30.0–45.0%), 25.0 points "
        "behind the best; the intervals do not overlap" in text[3]
    )


def test_the_original_network_wins():
    text = headline([experiment(1, 0.8, 0.7, 0.9), experiment(2, 0.75, 0.65, 0.85, "fcn")])
    assert "The original network (experiment 1) wins: no change beats it." in text[1]
    assert "experiment 2 (fcn) with 75.0%" in text[1]
    assert "the intervals overlap" in text[1]


def test_a_shared_first_place():
    rows = [experiment(n, a, 0.5, 0.9) for n, a in ((1, 0.8), (2, 0.7), (6, 0.8), (10, 0.8))]
    text = headline(rows)
    assert text[0].startswith("Experiments 1, 6 and 10 share the first place of 4: 80.0%")
    assert "is among the best: no change beats it" in text[1]
    assert not any("does not win" in sentence for sentence in text)


def test_touching_intervals_overlap():
    assert experiment(1, 0.5, 0.4, 0.6).overlaps(experiment(2, 0.7, 0.6, 0.8))
    assert not experiment(1, 0.5, 0.4, 0.6).overlaps(experiment(2, 0.7, 0.61, 0.8))


def test_partial_runs():
    assert headline([]) == ["No experiment is finished yet."]
    assert headline([experiment(1, 0.5, 0.4, 0.6, "original")]) == [
        "Only experiment 1 (original) is finished: 50.0% (95% interval 40.0–60.0%) of 1,200 test "
        "pictures right."
    ]
    assert (
        "Experiment 1, the original network, is not finished"
        in headline([experiment(2, 0.5, 0.4, 0.6)])[1]
    )
