"""The page at ``/``, in a browser."""

import base64
import json
import re
import shlex
import subprocess
import time
from dataclasses import replace
from html.parser import HTMLParser

import httpx
import numpy as np
import pytest
from PIL import Image

from boxwright.runtime import ClassEntry, Execution
from boxwright.runtime.drawing import label_places
from boxwright.serving.engine import Engine, load_models
from boxwright.serving.page import page
from boxwright.serving.server import background_server
from support.browser import Visit, browser
from support.exported import with_export

HTML = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.fixture(scope="module")
def chromium():
    camera = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    with browser(*camera) as one:
        yield one


@pytest.fixture(scope="module")
def base(mar):
    """A server of the tiny model, as it answers."""
    with background_server(load_models([mar], Execution("onnxruntime"))) as address:
        yield address


@pytest.fixture(scope="module")
def quick(mar, tmp_path_factory):
    """A server that answers two circles of scores .9 and .8."""
    path = with_export(mar, tmp_path_factory.mktemp("quick") / "tiny.mar", "onnxruntime-fp32")
    with background_server(load_models([path], Execution("onnxruntime"))) as address:
        yield address


@pytest.fixture(scope="module")
def drawing(demo_data):
    return sorted((demo_data / "valid").glob("*.jpg"))[0]


@pytest.fixture
def visit(chromium, quick):
    return lambda address=quick, **look: Visit(chromium, address + "/", **look)


def show(one, file):
    """Choose a picture, and wait until it is answered."""
    before = one.page.locator("#status").inner_text()
    one.page.locator("#file").set_input_files(file)
    return settled(one, before)


def settled(one, before):
    """The page's answer. Looked at from here: the page's policy forbids scripts that are made from text."""
    end = time.monotonic() + 30
    while True:
        now = one.page.locator("#status").inner_text()
        if now and now != before and not now.startswith("Asking"):
            return now
        assert time.monotonic() < end, now
        one.page.wait_for_timeout(50)


def rows(one):
    return one.page.locator("#found tbody tr").all_inner_texts()


# who gets it


def test_browsers_get_the_page_and_programs_what_torchserve_answers(base):
    answer = httpx.get(f"{base}/", headers=HTML)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for accept in ("*/*", "application/json", "", "text/html;q=0, */*", "text/htmlx"):
        refused = httpx.get(f"{base}/", headers={"Accept": accept})
        assert refused.status_code == 405, accept
        assert refused.json()["type"] == "MethodNotAllowedException"
        assert refused.headers["allow"] == "OPTIONS"
    assert httpx.post(f"{base}/", headers=HTML).status_code == 405
    assert httpx.head(f"{base}/", headers=HTML).status_code == 200


def test_the_policy_allows_the_pages_own_script_and_nothing_else(base):
    answer = httpx.get(f"{base}/", headers=HTML)
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"

    found = []

    class Links(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.extend(text for key, text in attributes if key in ("src", "href", "action"))

    Links().feed(answer.text)
    assert found == ["data:,"], "an empty icon, so that none is asked for"


def test_names_and_notes_cannot_become_code(chromium, mar, tmp_path, drawing):
    """Of an archive from elsewhere: its texts are shown as texts."""
    nasty = "</script><img src=x onerror=alert(1)>"
    path = with_export(mar, tmp_path / "tiny.mar", "onnxruntime-fp32")
    models = load_models([path], Execution("onnxruntime"))
    spec = models["tiny"].spec
    classes = tuple(ClassEntry(one.id, f"{nasty}{one.name}") for one in spec.classes)
    models["tiny"].spec = replace(spec, classes=classes, provenance={"weights": nasty}, architecture=nasty)
    models["tiny"].card = f"# {nasty}\n"
    assert nasty not in page(Engine(models))
    with background_server(models) as address, Visit(chromium, address + "/") as one:
        show(one, drawing)
        assert nasty in one.page.locator("#facts").inner_text()
        assert f"{nasty}circle" in rows(one)[0]
        one.page.locator("#model-card summary").click()
        assert one.page.locator("#card-text").inner_text() == f"# {nasty}\n"
        assert (one.dialogs, one.errors) == ([], [])


# what it does


def test_a_real_picture_is_answered_as_by_the_call(visit, base, odd_pictures):
    picture = next(one for one in odd_pictures if one.suffix == ".jpg")
    with visit(base) as one:
        assert not one.page.locator("#result").is_visible()
        said = show(one, picture)
        answer = httpx.post(f"{base}/predictions/tiny", content=picture.read_bytes()).json()
        assert said.startswith(f"{picture.name}: {len(answer)} box")
        assert json.loads(one.page.locator("#json").inner_text()) == answer
        assert len(rows(one)) == len(answer)
        assert one.errors == []
        assert {url for url in one.requests if not url.startswith(("data:", "blob:"))} == {
            f"{base}/", f"{base}/predictions/tiny?threshold=0",
        }  # fmt: skip


def test_every_odd_picture_is_shown_or_refused_in_words(visit, base, odd_pictures):
    with visit(base) as one:
        for picture in odd_pictures:
            said = show(one, picture)
            assert said.startswith(f"{picture.name}: "), said
        assert one.errors == []


def test_boxes_are_drawn_where_they_are(visit, drawing):
    pixel = (
        "([x, y]) => [...document.getElementById('canvas').getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3)"
    )
    with visit() as one, Image.open(drawing) as picture:
        show(one, drawing)
        size = one.page.evaluate("[document.getElementById('canvas').width, document.getElementById('canvas').height]")
        scale = size[0] / picture.width
        assert size[1] == pytest.approx(picture.height * scale, abs=1)
        for answer in json.loads(one.page.locator("#json").inner_text()):
            left, top, right, bottom = (scale * edge for edge in answer["circle"])
            across, down = round((left + right) / 2), round((top + bottom) / 2)
            for place in ((round(right), down), (across, round(bottom))):
                assert one.page.evaluate(pixel, place) == [0, 114, 178], place
        assert one.page.evaluate(pixel, [size[0] - 2, size[1] - 2]) != [0, 114, 178]
        label = one.page.locator("#canvas").get_attribute("aria-label")
        assert label == f"{drawing.name} with 2 boxes: 2 circle"


def test_labels_are_placed_as_drawings_do(visit):
    generator = np.random.default_rng(1)
    corners = generator.integers(-20, 220, (40, 2))
    boxes = np.hstack([corners, corners + generator.integers(5, 90, (40, 2))])
    sizes = generator.integers((20, 8), (70, 14), (40, 2))
    program = """([boxes, sizes]) => {
      const taken = [];
      boxes.forEach((box, at) => taken.push(place(box, ...sizes[at], {width: 240, height: 160}, taken)));
      return taken.map(({x, y}) => [x, y]);
    }"""
    with visit() as one:
        placed = one.page.evaluate(program, [boxes.tolist(), sizes.tolist()])
    assert placed == [list(one) for one in label_places(boxes, [tuple(size) for size in sizes.tolist()], (240, 160))]


def test_the_slider_filters_and_the_button_restores(visit, drawing):
    with visit() as one:
        show(one, drawing)
        back, value = one.page.locator("#operating-point"), one.page.locator("#threshold-value")
        assert (len(rows(one)), back.is_disabled()) == (2, True)
        before = value.inner_text()
        one.page.locator("#threshold").fill("0.85")
        assert [row.split()[:2] for row in rows(one)] == [["circle", "0.900"]]
        assert value.inner_text() == "0.85"
        assert one.page.locator("#result-title").inner_text() == "Detections: 1 box"
        assert len(json.loads(one.page.locator("#json").inner_text())) == 1
        one.page.locator("#threshold").fill("1")
        assert rows(one) == []
        back.click()
        assert (len(rows(one)), value.inner_text(), back.is_disabled()) == (2, before, True)


def test_fainter_boxes_than_reported_are_there_too(visit, base, drawing):
    with visit(base) as one:
        show(one, drawing)
        reported = len(rows(one))
        one.page.locator("#threshold").fill("0")
        everything = httpx.post(f"{base}/predictions/tiny?threshold=0", content=drawing.read_bytes()).json()
        assert len(rows(one)) == len(everything) > reported


def test_classes_are_filtered(visit, base, drawing):
    with visit(base) as one:
        show(one, drawing)
        one.page.locator("#threshold").fill("0")
        before = rows(one)
        names = [row.split()[0] for row in before]
        name = names[0]
        one.page.locator("#classes").get_by_label(name).uncheck()
        assert [row.split()[0] for row in rows(one)] == [other for other in names if other != name]
        one.page.get_by_role("button", name="None").click()
        assert rows(one) == []
        one.page.get_by_role("button", name="All").click()
        assert rows(one) == before


def test_the_command_does_what_the_page_did(visit, quick, drawing, tmp_path):
    """It is run, with a file name that a shell would take apart."""
    name = "it's [a] {b} $(c).jpg"
    (tmp_path / name).write_bytes(drawing.read_bytes())
    with visit() as one:
        show(one, tmp_path / name)
        one.page.locator("#threshold").fill("0.85")
        command, shown = (one.page.locator(place).inner_text() for place in ("#curl", "#json"))
    assert shlex.split(command)[0] == "curl"
    done = subprocess.run(
        ["sh", "-c", f"{command} -s --noproxy '*'"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert json.loads(done.stdout) == json.loads(shown), done.stderr


def test_command_and_json_are_copied(visit, drawing):
    with visit() as one:
        one.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        show(one, drawing)
        for part in ("curl", "json"):
            one.page.locator(f"#copy-{part}").click()
            one.page.locator("#status", has_text="Copied.").wait_for()
            assert one.page.evaluate("navigator.clipboard.readText()") == one.page.locator(f"#{part}").inner_text()


def test_what_is_no_picture_is_refused_in_the_servers_words(visit, tmp_path, drawing):
    (tmp_path / "notes.jpg").write_text("no picture")
    with visit() as one:
        said = show(one, tmp_path / "notes.jpg")
        answer = httpx.post(one.page.url + "predictions/tiny", content=b"no picture").json()
        assert said == answer["message"]
        assert "error" in one.page.locator("#status").get_attribute("class")
        assert show(one, drawing).startswith(drawing.name)
        assert one.page.locator("#status").get_attribute("class") == ""


def test_the_camera_takes_pictures(visit):
    """Chromium's own, which shows a moving pattern."""
    with visit() as one:
        one.page.get_by_role("button", name="Use the camera").click()
        one.page.locator("#shoot").wait_for(state="visible")
        one.page.locator("#shoot").click()
        assert settled(one, "").startswith("camera.jpg: 2 boxes")
        one.page.locator("#stop").click()
        assert one.page.locator("#viewer").is_hidden()
        assert one.page.evaluate("document.activeElement.id") == "camera"
        assert one.errors == []


def test_a_picture_is_dropped_anywhere(visit, drawing):
    with visit() as one:
        one.page.evaluate(
            """async ([content, name]) => {
              const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
              const dataTransfer = new DataTransfer();
              dataTransfer.items.add(new File([bytes], name, {type: "image/jpeg"}));
              const drop = new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer});
              document.querySelector("main").dispatchEvent(drop);
            }""",
            [base64.b64encode(drawing.read_bytes()).decode(), "dropped.jpg"],
        )
        assert settled(one, "").startswith("dropped.jpg: 2 boxes")


# what it says


def test_the_card_says_what_the_archive_holds(visit, mar):
    from boxwright.runtime import open_bundle

    spec = open_bundle(mar).spec
    with visit() as one:
        facts, tables = one.page.locator("#facts").inner_text(), one.page.locator("#measured").inner_text()
        assert not one.page.locator("#card-text").is_visible()
        one.page.locator("#model-card summary").click()
        assert one.page.locator("#card-text").inner_text() == open_bundle(mar).card
    point, measured = spec.operating_point, spec.measured["valid"]
    assert f"score {point.threshold:.3f} ({point.interval[0]:.3f} to {point.interval[1]:.3f})" in facts
    assert f"f2 = {point.value:.3f}" in facts
    assert "trained from scratch" in facts
    assert "96 pictures, 264 boxes" in facts
    assert "192 x 192 pixels (height x width), letterbox" in facts
    assert "Measured on valid, 16 pictures" in tables
    low, high = measured["intervals"]["map"]
    assert re.search(rf"mAP\s+{measured['map']:.3f}\s+{low:.3f} to {high:.3f}", tables)
    assert re.search(rf"triangle\s+{measured['per_class']['triangle']['threshold']:.3f}", tables)


def test_where_weights_lay_stays_private(mar):
    models = load_models([mar], Execution("onnxruntime"))
    for path in ("/home/me/secret/resnet.safetensors", r"C:\secret\resnet.safetensors"):
        models["tiny"].spec = replace(models["tiny"].spec, provenance={"weights": path})
        text = page(Engine(models))
        assert '["Starting weights","resnet.safetensors"]' in text
        assert "secret" not in text


def test_the_height_of_a_canvas_comes_first(mar):
    models = load_models([mar], Execution("onnxruntime"))
    spec = models["tiny"].spec
    models["tiny"].spec = replace(spec, input=replace(spec.input, height=160, width=224))
    assert '["Canvas","160 x 224 pixels (height x width), letterbox"]' in page(Engine(models))


def test_several_models_and_versions_are_offered(chromium, mar, drawing):
    engine_models = load_models([mar], Execution("onnxruntime"))
    with background_server(engine_models) as address, Visit(chromium, address + "/") as one:
        assert one.page.locator("#model option").all_inner_texts() == ["tiny"]
    first, second = (
        load_models([mar], Execution("onnxruntime"))["tiny"],
        load_models([mar], Execution("onnxruntime"))["tiny"],
    )
    second.version = "2.0"
    engine = Engine({"tiny": first})
    engine.add(second)
    documents = json.loads(re.search(r'id="models">(.*?)</script>', page(engine)).group(1))
    assert [(one["name"], one["version"], one["default"]) for one in documents] == [
        ("tiny", "1.0", True),
        ("tiny", "2.0", False),
    ]
    engine.close(5)


def test_a_server_without_models_has_a_page_too(chromium, drawing):
    with background_server({}) as address, Visit(chromium, address + "/") as one:
        assert "serves none" in one.page.locator("#facts").inner_text()
        assert show(one, drawing) == "There is no model to ask."
        assert one.errors == []


# for everybody


def test_it_is_used_from_the_keyboard_alone(visit, drawing):
    with visit() as one:
        seen = []
        for _ in range(4):
            one.page.keyboard.press("Tab")
            seen.append(one.page.evaluate("document.activeElement.id"))
        assert seen[:3] == ["model", "file", "camera"]
        show(one, drawing)  # the browser's own dialog chooses the file
        one.page.locator("#threshold").focus()
        one.page.keyboard.press("End")
        assert rows(one) == []
        one.page.keyboard.press("Tab")
        assert one.page.evaluate("document.activeElement.id") == "operating-point"
        one.page.keyboard.press("Enter")
        assert len(rows(one)) == 2
        assert one.page.evaluate("document.activeElement.id") == "threshold", "a disabled button keeps no focus"
        one.page.keyboard.press("Tab")
        assert one.page.evaluate("document.activeElement.type") == "checkbox"
        one.page.keyboard.press("Space")
        assert rows(one) == []
        one.page.keyboard.press("Space")
        button = one.page.locator("#found button").nth(1)
        button.focus()
        one.page.keyboard.press("Enter")
        assert button.get_attribute("aria-pressed") == "true"
        assert one.page.locator("#found tr.chosen").count() == 1
        one.page.keyboard.press("Enter")
        assert button.get_attribute("aria-pressed") == "false"
        assert one.page.locator("#found tr.chosen").count() == 0


_NAMELESS = """() => {
  const texts = (one) => [
    one.getAttribute("aria-label"), one.textContent, ...[...(one.labels || [])].map((label) => label.textContent),
    ...(one.getAttribute("aria-labelledby") || "").split(" ").map((id) => document.getElementById(id)?.textContent),
  ];
  const all = document.querySelectorAll("button, input, select, video, canvas, [role=region], section");
  return [...all].filter((one) => !texts(one).some((text) => text?.trim())).map((one) => one.outerHTML.slice(0, 80));
}"""


def test_everything_has_a_name_for_screen_readers(visit, drawing):
    with visit() as one:
        show(one, drawing)
        nameless = one.page.evaluate(_NAMELESS)
        assert nameless == []
        assert one.page.locator("#status").get_attribute("role") == "status"
        assert one.page.locator("html").get_attribute("lang") == "en"
        assert one.page.locator("h1").count() == 1


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark_have_enough_contrast_and_fit_a_telephone(visit, drawing, dark):
    with visit(width=360, dark=dark) as one:
        show(one, drawing)
        assert one.overflow() <= 0
        ratios = one.contrasts()
        assert len(ratios) > 30
        faint = {name: round(ratio, 2) for name, ratio in ratios.items() if ratio < 4.5}
        assert faint == {}
