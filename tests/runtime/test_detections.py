import base64
import importlib
import io
import re
import subprocess
import sys

import nbformat
import numpy as np
import pytest
import supervision
from nbclient import NotebookClient
from PIL import Image, ImageShow
from pycocotools.coco import COCO

from boxwright.runtime import ConfigError, Detections, PictureError, decode
from boxwright.runtime.drawing import draw_detections

FOUND = Detections([[10, 20, 50, 80], [0.5, 1.25, 7.5, 9]], [0.75, 0.5], [1, 0])


def test_shapes_are_checked_and_named():
    with pytest.raises(ValueError, match=r"got \[2, 4\], \[1\] and \[1\]"):
        Detections(np.zeros((2, 4)), np.zeros(1), np.zeros(1))


def test_above_keeps_the_score_the_threshold_was_taken_from():
    found = Detections(np.zeros((3, 4)), np.array([0.1, 0.7, 0.3], np.float32), [0, 1, 2])
    threshold = float(found.scores[2])
    assert found.filter_by_score(threshold).labels.tolist() == [1, 2]


def test_answer_has_the_shape_clients_know():
    found = Detections([[1, 2, 3, 4]], [0.5], [1])
    assert found.to_answer(["cat", "dog"]) == [{"dog": [1.0, 2.0, 3.0, 4.0], "score": 0.5}]


def test_empty_is_empty():
    assert len(Detections.empty()) == 0
    assert Detections.empty().boxes.shape == (0, 4)
    assert Detections.empty().to_answer(["cat"]) == []


def test_above_takes_a_threshold_for_each_class():
    found = Detections(np.zeros((4, 4)), np.array([0.4, 0.7, 0.6, 0.5], np.float32), [0, 1, 1, 0])
    assert found.filter_by_score([0.5, 0.65]).scores.tolist() == [np.float32(0.7), 0.5]
    assert len(Detections.empty().filter_by_score([0.5, 0.65])) == 0


def test_coco_results_are_what_pycocotools_loads():
    results = FOUND.to_coco(7, [3, 12])
    assert results[0] == {"image_id": 7, "category_id": 12, "bbox": [10.0, 20.0, 40.0, 60.0], "score": 0.75}
    assert results[1] == {"image_id": 7, "category_id": 3, "bbox": [0.5, 1.25, 7.0, 7.75], "score": 0.5}
    truth = COCO()
    truth.dataset = {"images": [{"id": 7}], "annotations": [], "categories": [{"id": 3}, {"id": 12}], "info": {}}
    truth.createIndex()
    loaded = truth.loadRes(results)
    assert [one["area"] for one in loaded.loadAnns(loaded.getAnnIds(catIds=[12]))] == [2400.0]


def test_supervision_counts_filters_and_draws_what_was_found():
    found = FOUND.to_supervision(["fish", "ray"])
    assert isinstance(found, supervision.Detections)
    assert found.xyxy.tolist() == FOUND.boxes.tolist()
    assert found.confidence.tolist() == [0.75, 0.5]
    assert found.class_id.tolist() == [1, 0]
    assert found["class_name"].tolist() == ["ray", "fish"]
    assert found[found["class_name"] == "fish"].xyxy.tolist() == [FOUND.boxes[1].tolist()]
    canvas = Image.new("RGB", (100, 100))
    drawn = supervision.LabelAnnotator().annotate(canvas.copy(), found)
    assert np.asarray(drawn).any()


def test_supervision_merges_nothing_with_something():
    merged = supervision.Detections.merge([Detections.empty().to_supervision([]), FOUND.to_supervision("ab")])
    assert merged["class_name"].tolist() == ["b", "a"]
    assert len(Detections.empty().to_supervision([])) == 0
    assert Detections.empty().to_coco(1, []) == []


def test_without_supervision_the_remedy_is_given():
    code = (
        "import sys; sys.modules['supervision'] = None\n"
        "from boxwright.runtime import Detections, MissingDependency\n"
        "try: Detections.empty().to_supervision([])\n"
        "except MissingDependency as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install supervision" in done.stdout, done.stderr


NAMED = Detections([[10, 20, 50, 80], [0.5, 1.25, 7.5, 9]], [0.5, 0.75], [1, 0], ["fish", "ray"])


def test_print_shows_a_table_of_the_best():
    assert str(NAMED).splitlines() == [
        "2 detections",
        "  class  score  left, top, right, bottom (pixels)",
        "  fish   0.750  0.5, 1.2, 7.5, 9.0",
        "  ray    0.500  10.0, 20.0, 50.0, 80.0",
    ]
    assert repr(NAMED) == "<2 detections: fish 0.75, ray 0.50>"
    assert (str(Detections.empty()), repr(Detections.empty())) == ("0 detections", "<0 detections>")
    assert "class 1" in str(FOUND)


def test_thousands_are_printed_in_a_few_lines():
    many = Detections(np.tile([0, 0, 9, 9], (4000, 1)), np.linspace(0, 1, 4000), np.zeros(4000), ["fish"])
    assert len(str(many).splitlines()) == 13
    assert str(many).splitlines()[2].split()[:2] == ["fish", "1.000"]
    assert str(many).endswith("… and 3990 more")
    assert repr(many) == "<4000 detections: fish 1.00, fish 1.00, fish 1.00, …>"
    assert len(many._repr_html_()) < 20_000


def test_names_and_picture_stay_with_a_part():
    picture = np.zeros((90, 60, 3), np.uint8)
    whole = Detections(NAMED.boxes, NAMED.scores, NAMED.labels, NAMED.names, picture)
    part = whole.filter_by_score(0.6)
    assert (len(part), part.names) == (1, ("fish", "ray"))
    assert part.picture is picture


def test_a_label_without_a_name_is_refused():
    with pytest.raises(ValueError, match="Labels 0 to 1 do not fit 1 class names"):
        Detections(NAMED.boxes, NAMED.scores, NAMED.labels, ["fish"])


def test_own_names_are_taken_where_none_are_given():
    assert NAMED.to_answer() == NAMED.to_answer(["fish", "ray"])
    assert NAMED.to_supervision()["class_name"].tolist() == ["ray", "fish"]
    with pytest.raises(ConfigError, match="names=") as raised:
        FOUND.to_answer()
    assert "do not know the names" in raised.value.message


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (120, 90), "navy").save(path)
    return path


def known(picture):
    return Detections(NAMED.boxes, NAMED.scores, NAMED.labels, NAMED.names, picture)


def test_the_drawn_picture_is_written(photo, tmp_path):
    for picture in (photo, str(photo), photo.read_bytes(), Image.open(photo), np.asarray(Image.open(photo))):
        assert known(picture).save(tmp_path / "drawn.png") == tmp_path / "drawn.png"
        with Image.open(tmp_path / "drawn.png") as drawn:
            assert np.array_equal(drawn, draw_detections(decode(photo), NAMED, ["fish", "ray"]))
    assert NAMED.save(tmp_path / "given.jpg", photo).stat().st_size > 0
    assert [part.size for part in known(photo).crop()] == [(40, 60), (8, 8)]


def test_what_cannot_be_drawn_or_written_is_told(photo, tmp_path):
    with pytest.raises(PictureError, match=r"do not know their picture.*show\(PICTURE\)"):
        NAMED.draw()
    with pytest.raises(ConfigError, match="would replace the picture itself"):
        known(photo).save(photo)
    with pytest.raises(ConfigError, match="would replace the picture itself"):
        known(photo).save(photo, decode(photo))  # given as it is in memory
    (tmp_path / "kept.jpg").write_bytes(b"kept")
    with pytest.raises(ConfigError, match=r"kept\.jpg: JPEG does not hold 70000 x 3 pixels: .* Use \.png\."):
        NAMED.save(tmp_path / "kept.jpg", np.zeros((3, 70_000, 3), np.uint8))
    assert (tmp_path / "kept.jpg").read_bytes() == b"kept"
    with pytest.raises(PictureError, match=r"gone\.png"):
        known(tmp_path / "gone.png").save(tmp_path / "kept.jpg")
    with pytest.raises(ConfigError, match=r"'\.docx'"):
        known(photo).save(tmp_path / "drawn.docx")
    with pytest.raises(ConfigError, match="No such file or directory"):
        known(photo).save(tmp_path / "nowhere" / "drawn.png")
    lost = known(photo)
    photo.unlink()
    with pytest.raises(PictureError, match=r"photo\.png"):
        lost.draw()
    assert "photo.png" in lost._repr_html_()
    assert "0.750" in lost._repr_html_()


def test_in_a_notebook_the_drawn_picture_is_below_the_cell():
    code = """
import numpy as np
from boxwright.runtime import Detections
Detections([[10, 20, 50, 80]], [0.5], [0], ["cat"], np.zeros((90, 120, 3), np.uint8)).show()
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
    assert picture.size == (120, 90)
    assert picture.getbbox() is not None  # the box


def test_the_viewer_of_the_system_gets_the_drawn_picture(photo):
    importlib.import_module("ipykernel.kernelapp")  # as other packages do outside of notebooks, too
    importlib.import_module("IPython.display")
    shown = []

    class Viewer(ImageShow.Viewer):
        def show(self, image, **options):
            shown.append(image)
            return True

    ImageShow.register(Viewer(), 0)
    try:
        known(photo).show()
    finally:
        del ImageShow._viewers[0]
    assert np.array_equal(shown[0], known(photo).draw())


def test_without_a_viewer_a_file_is_named_instead(photo, monkeypatch, capsys):
    importlib.import_module("IPython.display")
    monkeypatch.setattr(ImageShow, "_viewers", [ImageShow.IPythonViewer()])
    with pytest.raises(PictureError, match=r"no display or viewer for pictures here.*save\(PATH\)"):
        known(photo).show()
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(ImageShow, "_viewers", [ImageShow.XDGViewer()])  # which looks for a browser in vain
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(PictureError, match="no display"):
        known(photo).show()


def test_a_notebook_shows_picture_and_table_of_bounded_size(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (3000, 2000, 3), np.uint8)
    found = Detections([[10, 20, 500, 800]], [0.5], [0], ["<script>alert(1)</script>"], noise)
    page = found._repr_html_()
    assert len(page) < 1_000_000
    assert "<script>" not in page
    encoded = base64.b64decode(re.search(r"base64,([^\"]+)", page).group(1))
    assert Image.open(io.BytesIO(encoded)).size == (533, 800)


@pytest.mark.parametrize(
    ("scores", "labels", "said"),
    [
        ([0.5, 0.6], [0, 0.9], "Labels 0.0 to 0.9 are not whole numbers"),
        ([0.5, 0.6], [0, -1], "Labels -1 to 0 are not whole numbers"),
        ([0.5, 1.5], [0, 1], "not in"),
        ([-0.1, 0.5], [0, 1], "not in"),
        ([float("nan"), 0.5], [0, 1], "not in"),
    ],
)
def test_scores_and_labels_that_mean_nothing_are_refused(scores, labels, said):
    with pytest.raises(ValueError, match=said):
        Detections([[0, 0, 1, 1], [0, 0, 2, 2]], scores, labels)
    assert Detections([[0, 0, 1, 1]], [1.0], [2.0]).labels.tolist() == [2]
