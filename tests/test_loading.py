import io
import os

import keras
import numpy as np
import profiles
import pytest
from PIL import Image

from fcnkeras.images import ImageError
from fcnkeras.loading import load_img, set_load_img_type

PICTURE = np.random.default_rng(0).integers(1, 256, (31, 67, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _plain_type_again():
    yield
    set_load_img_type(0)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(PICTURE).save(path)
    return path


@pytest.mark.parametrize("keep_aspect_ratio", [False, True])
@pytest.mark.parametrize("target_size", [None, (31, 67), (20, 20), (50, 13), (7, 90)])
@pytest.mark.parametrize("color_mode", ["rgb", "rgba", "grayscale"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos", "box"])
def test_plain_type_is_keras(path, color_mode, target_size, interpolation, keep_aspect_ratio):
    arguments = (path, color_mode, target_size, interpolation, keep_aspect_ratio)
    ours, keras_ = load_img(*arguments), keras.utils.load_img(*arguments)
    assert ours.mode == keras_.mode
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(keras_))


@pytest.mark.parametrize("mode", ["L", "P", "I;16", "RGBA", "CMYK"])
@pytest.mark.parametrize("color_mode", ["rgb", "rgba", "grayscale"])
def test_plain_type_is_keras_for_other_modes(tmp_path, mode, color_mode):
    path = tmp_path / "picture.tif"
    if mode == "I;16":
        image = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100)
    else:
        image = Image.fromarray(PICTURE).convert(mode)
    image.save(path)
    ours = load_img(path, color_mode, (16, 16))
    keras_ = keras.utils.load_img(path, color_mode, (16, 16))
    assert ours.mode == keras_.mode
    same = np.array_equal(np.asarray(ours), np.asarray(keras_))
    # The exception: Keras clips 16-bit greys at 255.
    assert same == (mode != "I;16" or color_mode == "grayscale")


def test_default_interpolation_is_keras_too(path):
    ours = load_img(path, target_size=(20, 20))
    np.testing.assert_array_equal(ours, keras.utils.load_img(path, target_size=(20, 20)))


def test_every_kind_of_path(path):
    stream = io.BytesIO(path.read_bytes())
    for source in (path, str(path), os.fsencode(path), stream, stream):
        np.testing.assert_array_equal(np.asarray(load_img(source)), PICTURE)
    with pytest.raises(TypeError, match=r"path must be a path or an io.BytesIO, got int"):
        load_img(3)


def test_orientation_is_honoured_where_keras_does_not(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "sideways.png"
    Image.fromarray(PICTURE).save(path, exif=exif)
    np.testing.assert_array_equal(np.asarray(load_img(path)), np.rot90(PICTURE, -1))
    assert load_img(path, target_size=(None, 31)).size == (31, 67)
    assert keras.utils.load_img(path).size == (67, 31)


def test_pad_type(path):
    set_load_img_type(1)
    padded = np.asarray(load_img(path, target_size=(67, 67)))
    np.testing.assert_array_equal(padded[18:49], PICTURE)
    assert padded[:18].max() == padded[49:].max() == 0


def test_pad_with_mask_type(path):
    set_load_img_type(2)
    image, mask = load_img(path, target_size=(67, 67))
    assert (mask.mode, mask.size) == ("L", image.size)
    mask = np.asarray(mask)
    assert (mask[18:49] == 255).all()
    assert mask[:18].max() == mask[49:].max() == 0
    np.testing.assert_array_equal(mask == 255, np.asarray(image).max(axis=2) > 0)


def test_crop_type(path):
    set_load_img_type(3)
    np.testing.assert_array_equal(load_img(path, target_size=(31, 31)), PICTURE[:, 18:49])
    np.testing.assert_array_equal(load_img(path, target_size=[31, 11]), PICTURE[:, 28:39])


def test_multi_crop_type(path):
    set_load_img_type(4)
    crops = load_img(path, target_size=(31, 31))
    for crop, start in zip(crops, (0, 18, 36), strict=True):
        np.testing.assert_array_equal(crop, PICTURE[:, start : start + 31])


@pytest.mark.parametrize("kind", [1, 3])
@pytest.mark.parametrize("color_mode", ["rgba", "grayscale"])
def test_other_colour_modes_for_the_other_types(path, kind, color_mode):
    set_load_img_type(kind)
    image = load_img(path, color_mode, (40, 40))
    assert (image.mode, image.size) == ({"rgba": "RGBA", "grayscale": "L"}[color_mode], (40, 40))


def test_16_bit_greys_can_be_padded(tmp_path):
    set_load_img_type(1)
    path = tmp_path / "grey.png"
    Image.fromarray(np.full((10, 20), 40_000, np.uint16)).save(path)
    padded = np.asarray(load_img(path, "grayscale", (20, 20)))
    assert (padded[5:15] == 40_000).all()
    assert padded[:5].max() == 0


def test_given_interpolation_is_obeyed_by_every_type(path):
    set_load_img_type(3)
    nearest = np.asarray(load_img(path, target_size=(62, 62), interpolation="nearest"))
    np.testing.assert_array_equal(nearest, PICTURE[:, 18:49].repeat(2, axis=0).repeat(2, axis=1))
    assert not np.array_equal(np.asarray(load_img(path, target_size=(62, 62))), nearest)


@pytest.mark.parametrize(
    ("arguments", "size"),
    [  # 67 x 31; the free side is rounded up
        ({"target_size": (None, 500)}, (500, 232)),  # 231.3
        ({"target_size": (500, None)}, (1081, 500)),  # 1080.6
        ({"target_size": (None, 1)}, (1, 1)),
        ({"min_dimension": 62}, (134, 62)),
        ({"min_dimension": 20}, (44, 20)),  # 43.2
    ],
)
@pytest.mark.parametrize("kind", range(5))
def test_sizes_that_keep_the_aspect_for_every_type(path, kind, arguments, size):
    set_load_img_type(kind)
    loaded = load_img(path, **arguments)
    image = loaded[0] if kind in (2, 4) else loaded
    assert image.size == size
    if kind == 2:
        assert loaded[1].size == size
        assert loaded[1].getextrema() == (255, 255)
    if kind == 4:
        assert len(loaded) == 1


def test_types_keep_their_form_without_a_target(path):
    set_load_img_type(4)
    (only,) = load_img(path)
    np.testing.assert_array_equal(only, PICTURE)
    set_load_img_type(2)
    image, mask = load_img(path)
    np.testing.assert_array_equal(image, PICTURE)
    assert mask.getextrema() == (255, 255)


def test_large_jpegs_give_the_same_at_reduced_scale(tmp_path):
    path = tmp_path / "large.jpg"
    smooth = Image.fromarray(PICTURE[:9, :12]).resize((1203, 901), Image.Resampling.BICUBIC)
    smooth.save(path, quality=95)
    for kind in (1, 3):
        set_load_img_type(kind)
        fast = np.asarray(load_img(path, target_size=(90, 70)), dtype=float)
        whole = load_img(path, target_size=(90, 70), interpolation="bicubic")
        assert np.abs(fast - np.asarray(whole)).mean() < 1


@pytest.mark.parametrize("kind", [-1, 5, "pad", None, True, 1.5])
def test_bad_types(kind):
    with pytest.raises(ValueError, match="must be 0, 1, 2, 3 or 4, got"):
        set_load_img_type(kind)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target_size": 224}, "target_size must be .*got 224"),
        ({"target_size": (None, None)}, r"target_size must be .*got \(None, None\)"),
        ({"target_size": (0, 5)}, "target_size must be"),
        ({"target_size": (2.5, 5)}, "target_size must be"),
        ({"min_dimension": 0}, "min_dimension must be a positive int, got 0"),
        ({"min_dimension": 3, "target_size": (3, 3)}, "exclude each other"),
        ({"interpolation": "cubic"}, "interpolation must be one of .*got 'cubic'"),
        ({"color_mode": "hsv"}, "color_mode must be one of .*got 'hsv'"),
    ],
)
def test_bad_arguments(path, arguments, message):
    with pytest.raises(ValueError, match=message):
        load_img(path, **arguments)


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        load_img(tmp_path / "missing.jpg", target_size=(3, 3))


def test_a_colour_profile_is_applied_where_keras_does_not(tmp_path):
    path = tmp_path / "linear.png"
    linear = profiles.rgb(curve=profiles.gamma(1))
    Image.new("RGB", (3, 2), (64, 128, 200)).save(path, icc_profile=linear)
    # 255 * linear_to_srgb(64 / 255) = 137.2, and so on.
    assert load_img(path).getpixel((0, 0)) == (137, 188, 229)
    assert keras.utils.load_img(path).getpixel((0, 0)) == (64, 128, 200)


def test_a_strip_that_would_become_absurdly_large(tmp_path):
    path = tmp_path / "strip.png"
    Image.new("RGB", (1, 20_000)).save(path)
    match = rf"^cannot read {path}: native would make 336 x 6720000 .* limit of 50,000,000"
    with pytest.raises(ImageError, match=match):
        load_img(path, min_dimension=336)
    assert load_img(path, min_dimension=2).size == (2, 40_000)
