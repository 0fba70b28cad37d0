import html as standard_html
import re
import shutil
import stat

import numpy as np
import pytest
from pages import Reader, look_at

from fcnkeras.report import results, write_experiment_report
from fcnkeras.report.class_maps import class_maps
from fcnkeras.report.results import ClassMap

ODD = 'a<b & "c"'
ROW = "1,original,VGG16,false,squash,224,false,0.6,0.4,0.8,20,2,4,0.65,0.7,1000,0.02,60"


def read(folder):
    path = write_experiment_report(folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def cells(page, number):
    """The cells of an experiment's row in the table of results."""
    for row in re.findall(r"<tr[^>]*>(.*?)</tr>", page):
        found = re.findall(r"<td[^>]*>(.*?)</td>", row)
        if found and found[0] == str(number):
            return found
    raise AssertionError(f"no row of experiment {number}")


def part(page, number):
    """The part of the page about one experiment."""
    start = page.index(f'<details id="experiment-{number}"')
    return page[start : page.index("</details>", start)]


def test_numbers_of_the_table(run_folder):
    page = read(run_folder)
    assert cells(page, 1) == [
        "1", "original network", "60.0%", "38.0–78.0%", "no", "squash", "224", "no", "2 of 4",
        "65.0%", "0.701", "134,268,738", "0.0251", "1:02:05",
    ]  # fmt: skip
    # Experiment 10 has left three cells empty.
    assert cells(page, 10)[2:] == [
        "90.0%", "70.0–97.0%", "yes", "native", "336", "no", "4 of 4", "–", "–", "134,268,738",
        "–", "0:01:01",
    ]  # fmt: skip
    assert "<td>crop 1.5x &lt;FCN&gt;</td>" in page


def test_headline(run_folder):
    text = Reader(read(run_folder)).text
    assert (
        "Best of 3: experiment 6 (crop 1.5x <FCN>): 95.0% (95% interval 80.0–99.0%) of 20 test "
        "pictures right." in text
    )
    assert "has 60.0% (95% interval 38.0–78.0%), 35.0 points less; the intervals do not" in text
    assert "Experiment 10, ours (native 1.5x), does not win: 90.0%" in text


def test_confusion_matrix(run_folder):
    words = re.findall(r"<text[^>]*>([^<]*)</text>", part(read(run_folder), 1))
    # 7 of 10 and 3 of 10 pictures of the first class, 5 and 5 of the second one.
    for count, share in (("7", "70%"), ("3", "30%"), ("5", "50%")):
        assert count in words
        assert share in words


def test_worst_errors_come_most_confident_first(run_folder):
    one = part(read(run_folder), 1)
    text = Reader(one + "</details>").text
    assert "8 of 8 wrong answers, the most confident first." in text
    found = re.findall(r"labelled (.*?), answered (.*?) with ([\d.]+)%", text)
    assert found[0] == (ODD, "plain", "97.0")
    assert [float(share) for _, _, share in found] == [97, 80, 80, 80, 70, 70, 70, 70]
    assert found[1][:2] == ("plain", ODD)
    assert one.count("picture not found") == 7
    errors = one[one.index("Worst errors") :]
    assert errors.count('<img src="data:image/jpeg;base64,') == 1


def test_maps_have_sliders(run_folder):
    six = part(read(run_folder), 6)
    reader = Reader(six + "</details>")
    sliders = [a for tag, a in reader.attributes if tag == "input"]
    assert len(sliders) == 4  # two pictures, two maps each
    assert all(a["type"] == "range" and a["aria-label"] for a in sliders)
    assert sliders[0]["aria-label"] == f"Fade from picture to map: score of {ODD}, maps/0 & <y>.png"
    assert "window of 64 × 64 pixels" in reader.text
    assert "the ring marks where it decides" in reader.text
    assert f"labelled {ODD}, answered {ODD}" in reader.text
    assert f"labelled {ODD}, answered plain" in reader.text
    assert "3 × 7 locations" in reader.text  # (96 - 64) / 16 + 1 by (160 - 64) / 16 + 1
    assert "9 × 1 locations" in reader.text


def test_lead_map_is_signed_around_zero():
    logits = np.zeros((1, 3, 3), np.float32)
    logits[0, :, 0] = [2, 1, 0]
    logits[0, :, 1] = [0.5, 4, 0]  # the answer leads by 1.5, -3 and 0
    one = ClassMap("x.png", np.zeros((8, 24, 3), np.uint8), logits, label=0, predicted=0)
    page = class_maps([one], 8, classes=["a", "b", "c"], settings={})
    ends = re.findall(r'class="bar"><span>([^<]*)</span>.*?<span>([^<]*)</span></span>', page)
    assert ends == [("0.00", "2.00"), ("-3.00", "3.00")]
    assert "is highest" in page  # only with max pooling does one location decide


def test_networks_that_judge_the_whole_picture_show_no_map(run_folder):
    assert "This network has no map" in part(read(run_folder), 1)
    assert "there is no experiment_10/maps.npz" in part(read(run_folder), 10)  # it should have one
    whole = ClassMap("x.png", np.zeros((8, 8, 3), np.uint8), np.zeros((1, 1, 2)), 0, 0)
    page = class_maps([whole], 8, classes=["a", "b"], settings={})
    assert "the map has one location" in page
    assert "<input" not in page


def test_maps_of_point_windows_stand_in_their_own_cells():
    # 4 x 4 locations in 8 x 8 pixels: with a "native" window of 8 that would be impossible.
    logits = np.random.default_rng(0).normal(size=(4, 4, 2)).astype(np.float32)
    one = ClassMap("x.png", np.zeros((8, 8, 3), np.uint8), logits, label=0, predicted=0)
    assert "Not shown" in class_maps([one], 8, classes=["a", "b"], settings={})
    point = class_maps([one], 8, classes=["a", "b"], settings={"window": "point"})
    assert "Not shown" not in point
    assert "the middle of its own cell" in point


def test_page_is_self_contained_and_escaped(run_folder):
    page = read(run_folder)
    assert "http" not in page.replace("http-equiv", "")
    reader = Reader(page)
    for tag, attributes in reader.attributes:
        assert tag not in ("link", "iframe", "object", "b", "x", "y", "demo")
        for key in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert attributes.get(key, "#").startswith(("#", "data:image/"))
    assert "url(" not in re.sub(r"url\(#", "", page)
    assert 'a<b & "c"' not in page
    assert standard_html.escape(ODD) in page
    assert "Circles & squares <demo>" in reader.text
    assert "bad <1>.jpg it is a text file" in reader.text


def test_every_link_has_a_target_and_no_id_is_double(run_folder):
    page = read(run_folder)
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    links = re.findall(r'href="#([^"]*)"', page)
    assert set(links) <= set(ids)
    assert "experiment-10" in links


def test_settings_are_listed(run_folder):
    text = Reader(read(run_folder)).text
    for shown in (f"classes plain, {ODD}", "seed 7", "learning rate 0.01", "frozen –", "flip yes"):
        assert shown in text


def test_same_folder_same_page(run_folder):
    assert read(run_folder) == read(run_folder)


def test_replacing_an_old_report_leaves_nothing_else(run_folder):
    (run_folder / "report.html").write_text("old")
    before = {path.name for path in run_folder.iterdir()}
    read(run_folder)
    assert {path.name for path in run_folder.iterdir()} == before
    assert stat.S_IMODE((run_folder / "report.html").stat().st_mode) & stat.S_IRUSR


def test_a_partial_run_says_what_is_missing(run_folder):
    for name in ("settings.json", "rejected.csv", "experiment_01/history.csv"):
        (run_folder / name).unlink()
    (run_folder / "experiment_06" / "predictions.csv").unlink()
    shutil.rmtree(run_folder / "experiment_10")
    page = read(run_folder)
    assert "The run has left no settings.json." in page
    assert "Every picture could be read." in page
    assert "there is no experiment_01/history.csv" in part(page, 1)
    assert "Confusion matrix of experiment 1" in part(page, 1)
    assert "there is no experiment_06/predictions.csv" in part(page, 6)
    assert "answered class 0" in part(page, 6)  # nobody knows the names any more
    for name in ("history.csv", "predictions.csv", "maps.npz"):
        assert f"there is no experiment_10/{name}" in part(page, 10)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("history.csv", "", "the column epoch is missing"),
        ("history.csv", "epoch,loss\n", "no epoch"),
        ("history.csv", "epoch,loss\n0\n", "has not as many cells"),
        ("predictions.csv", "file,label,predicted,p_a\nx,a,b,1\n", "no column p_b"),
        ("predictions.csv", "file,label,predicted,p_a\nx,a,a,much\n", "p_a must be a number"),
        ("maps.npz", "no archive", "cannot be used"),
    ],
)
def test_a_damaged_file_is_named_in_the_page(run_folder, name, content, message):
    (run_folder / "experiment_06" / name).write_text(content)
    text = Reader(part(read(run_folder), 6) + "</details>").text
    assert f"experiment_06/{name} cannot be used" in text
    assert message in text


def test_maps_that_lack_a_part_are_named(run_folder):
    path = run_folder / "experiment_06" / "maps.npz"
    np.savez(path, picture_0=np.zeros((4, 4, 3), np.uint8), file_0="x", label_0=0, predicted_0=0)
    assert "map_0" in part(read(run_folder), 6)
    np.savez(
        path, picture_0=np.zeros((4, 4), np.uint8), map_0=np.zeros((1, 1, 2)), file_0="x",
        label_0=0, predicted_0=0, window=4,
    )  # fmt: skip
    assert "picture_0 must be uint8" in part(read(run_folder), 6)


def test_predictions_of_another_run_are_noticed(replace_results):
    folder = replace_results(ROW.replace("0.6,0.4,0.8", "0.7,0.4,0.8"))
    assert "has 60.0% right, but results.csv says 70.0%" in read(folder)
    assert "not from the same run" not in read(replace_results(ROW))


def test_no_experiment_finished(replace_results):
    assert "No experiment is finished yet." in read(replace_results())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (ROW.replace("0.6,", "much,"), "accuracy must be a number, received 'much'"),
        (ROW.replace("0.6,", "60,"), "between 0 and 1 that ascend, received 0.4, 60.0, 0.8"),
        (ROW.replace("0.6,", "nan,"), "received 0.4, nan, 0.8"),
        (ROW.replace("false,squash", "perhaps,squash"), "fcn must be true or false"),
        (ROW.rsplit(",", 1)[0], "line 2 has not as many cells as the header, 18"),
        (f"{ROW}\n{ROW}", "may stand there once"),
    ],
)
def test_malformed_results_are_refused(replace_results, line, message):
    folder = replace_results(line)
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        write_experiment_report(folder)
    assert str(folder / "results.csv") in str(raised.value)
    assert not (folder / "report.html").exists()


def test_missing_results_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*results\.csv"):
        write_experiment_report(tmp_path)


def test_malformed_settings_are_refused(run_folder):
    (run_folder / "settings.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"settings\.json cannot be used: an object was expected"):
        write_experiment_report(run_folder)


def test_a_repeated_epoch_counts_once_and_gaps_are_nan(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("loss,epoch,val_loss\n3,0,4\n9,1,9\n2,1,NA\n")
    history = results.read_history(path)
    assert history["epoch"].tolist() == [0, 1]
    assert history["loss"].tolist() == [3, 2]
    assert np.isnan(history["val_loss"][1])


@pytest.mark.parametrize("width", [1280, 500])
def test_in_a_browser(run_folder, tmp_path, width):
    """The sliders move, and the link to an experiment opens it."""
    script = """
        const slider = document.querySelector(".slider input");
        const seen = ["0", "60", "100"].map((value) => move(slider, value));
        document.querySelector('a[href="#experiment-6"]').click();
        return [seen, document.getElementById("experiment-6").open, document.images.length > 3];
    """
    assert look_at(read(run_folder), tmp_path, width, script) == "0,0.6,1,true,true"
