import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from fcnkeras.report import plots
from fcnkeras.training.lr_finder import LearningRates


def words(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_dots_and_whiskers_stand_where_the_numbers_say():
    figure = plots.accuracy_plot(["a", "b"], [0.5, 0.75], [0.4, 0.7], [0.625, 0.875], reference=0)
    axes = figure.axes[0]
    dots = axes.lines[-1] if len(axes.lines[-1].get_xdata()) == 2 else axes.containers[0][0]
    container = axes.containers[0]
    assert container[0].get_xdata().tolist() == [50, 75]
    assert dots.get_ydata().tolist() == [0, 1]
    whiskers = [segment[:, 0].tolist() for segment in container[2][0].get_segments()]
    np.testing.assert_allclose(whiskers, [[40, 62.5], [70, 87.5]])
    bottom, top = axes.get_ylim()
    assert bottom > top  # the first experiment is on top


def test_curves_mark_the_best_epoch_and_the_drops_of_the_rate():
    history = {
        "epoch": np.array([0, 1, 2, 3]),
        "accuracy": np.array([0.5, 0.6, 0.7, 0.8]),
        "val_accuracy": np.array([0.4, 0.5, 0.6, 0.5]),
        "loss": np.array([4.0, 3, 2, 1]),
        "val_loss": np.array([5.0, 4, 3, 4]),
        "learning_rate": np.array([0.01, 0.01, 0.002, 0.002]),
    }
    upper, lower = plots.training_curves(history, best_epoch=3).axes
    drawn = {line.get_label(): line for line in upper.lines}
    assert drawn["training"].get_xdata().tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(drawn["validation"].get_ydata(), [40, 50, 60, 50])
    assert drawn["best epoch"].get_xdata() == [3, 3]
    dotted = [line.get_xdata() for line in lower.lines if line.get_linestyle() == ":"]
    assert dotted == [[2.5, 2.5]]
    assert [text.get_text() for text in lower.texts] == ["rate 0.002"]


def test_curves_do_without_validation_rates_and_accuracy():
    (axes,) = plots.training_curves({"epoch": np.array([0]), "loss": np.array([1.0])}).axes
    assert (axes.get_title("left"), len(axes.lines)) == ("Loss", 1)


def test_confusion_cells_hold_counts_and_row_percentages():
    counts = np.array([[3, 1, 0], [0, 5, 0], [0, 0, 0]])  # the last class was never tested
    axes = plots.confusion_plot(counts, ["a", "b", "c"]).axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    # A text's position is (column, row).
    assert cells == {(0, 0): "3\n75%", (1, 0): "1\n25%", (1, 1): "5\n100%"}
    opacity = axes.images[0].get_array()[..., 3]
    assert opacity.tolist() == [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(("classes", "numbers"), [(20, 20), (21, 0)])
def test_many_classes_have_no_numbers(classes, numbers):
    counts = np.eye(classes, dtype=int)
    axes = plots.confusion_plot(counts, [f"class {i}" for i in range(classes)]).axes[0]
    assert len(axes.texts) == numbers


def test_svg_is_ready_for_a_page():
    counts = np.array([[2, 1], [0, 3]])
    names = ["$x_1$ <b>", "猫 & \udcff" + "y" * 40]
    svg = plots.to_svg(plots.confusion_plot(counts, names), name="one", alt='say "<x>"')
    assert svg.startswith("<svg viewBox=")
    assert 'aria-label="say &quot;&lt;x&gt;&quot;"' in svg
    assert "http" not in svg
    assert "<style" not in svg
    assert plots.INK not in svg
    assert "currentColor" in svg
    assert "$x_1$ &lt;b&gt;" in words(svg)  # neither a formula nor markup
    assert any(word.startswith("猫 &amp; ?y") and word.endswith("…") for word in words(svg))
    namespace = '<svg xmlns:xlink="http://www.w3.org/1999/xlink" '
    ElementTree.fromstring(namespace + svg.removeprefix("<svg "))  # well-formed


def test_references_of_two_plots_do_not_meet():
    def ids(name):
        figure = plots.accuracy_plot(["a"], [0.5], [0.4], [0.6])
        svg = plots.to_svg(figure, name=name, alt="")
        found = set(re.findall(r' id="([^"]*)"', svg))
        assert found >= set(re.findall(r'href="#([^"]*)"', svg))
        assert found >= set(re.findall(r"url\(#([^)]*)\)", svg))
        return svg, found

    first, second, again = ids("one"), ids("two"), ids("one")
    assert first[1]
    assert not first[1] & second[1]
    assert first == again


def test_no_global_state_is_left_and_pyplot_is_not_used():
    code = (
        "import sys, numpy as np; from fcnkeras.report import plots\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import matplotlib; before = matplotlib.rcParams.copy()\n"
        "figure = plots.confusion_plot(np.eye(2, dtype=int), ['a', 'b'])\n"
        "plots.to_svg(figure, name='x', alt='')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert 'keras' not in sys.modules\n"
        "names = [name for name in before if name != 'backend']\n"  # looking resolves it
        "assert all(matplotlib.rcParams[n] == before[n] for n in names)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "fcnkeras\[report\]"'):
        plots.accuracy_plot(["a"], [0.5], [0.4], [0.6])


def test_learning_rates_show_the_suggestion_and_not_the_loss_that_ran_away():
    found = LearningRates(np.array([0.1, 1, 10, 100]), np.array([1.5, 2.0, 1, 900]), 1.0)
    (axes,) = plots.plot_learning_rates(found).axes
    curve, line = axes.lines
    assert curve.get_xdata().tolist() == [0.1, 1, 10, 100]
    assert curve.get_ydata().tolist() == [1.5, 2, 1, 900]
    assert line.get_xdata() == [1, 1]
    assert line.get_label() == "suggestion: 1"
    assert axes.get_xscale() == "log"
    assert axes.get_ylim() == pytest.approx((0.9, 2.5))
    (axes,) = plots.plot_learning_rates(LearningRates(found.rates, np.ones(4), None)).axes
    assert len(axes.lines) == 1
