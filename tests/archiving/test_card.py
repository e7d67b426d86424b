"""The model card: Hugging Face's own reader takes it, and it says what the specification says."""

import json
import re
import warnings
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st

import boxwright
from boxwright.archiving import CardFacts, Failure, model_card, write_archive
from boxwright.archiving.card import TO_BE_FILLED_IN, with_speed
from boxwright.data.description import describe_data
from boxwright.host.machine import describe_machine
from boxwright.reporting.card_facts import facts_of_run, read_notes
from boxwright.runtime import ArchiveError, ClassEntry, ConfigError, InputSpec, ModelSpec, OperatingPoint, open_bundle
from boxwright.runtime.bundle import CARD, CHECKSUMS
from boxwright.tuning.store import write_entry
from support.command_line import boxwright as command
from support.hostile_archives import listed, members_of, packed

RUN = {
    "backend": "onnxruntime",
    "precision": "fp32",
    "batch": 1,
    "threads": 2,
    "sessions": 1,
    "latency_ms_p50": 12.34,
    "images_per_s": 81.0,
}


@pytest.fixture(scope="module")
def card(mar):
    text = boxwright.inspect(mar).card
    assert text is not None
    return text


def sections(text):
    return dict(part.split("\n", 1) for part in text.split("\n## ")[1:])


def rows(text):
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]


def test_hugging_faces_reader_takes_it(card, mar):
    spec = boxwright.inspect(mar).spec
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = ModelCard(card).data
    assert (data.library_name, data.pipeline_tag, data.license) == ("boxwright", "object-detection", "unknown")
    assert spec.architecture in data.tags
    assert data.datasets == [spec.provenance["data_description"]["name"]]
    assert data.model_name == spec.name
    assert {"mAP", "F2"} <= {one.metric_name for one in data.eval_results}
    for one in data.eval_results:
        assert (one.task_type, one.dataset_split) == ("object-detection", "valid")
        assert one.metric_value == pytest.approx(spec.measured["valid"][one.metric_type], abs=1e-4)


def test_figures_stand_there_with_their_intervals(card, mar):
    spec = boxwright.inspect(mar).spec
    told, figures = rows(sections(card)["Figures"]), spec.measured["valid"]
    low, high = figures["intervals"]["f2"]
    assert ["F2", f"{figures['f2']:.3f}", f"{low:.3f} to {high:.3f}"] in told
    small = next(row for row in told if row[0].startswith("small"))
    assert small[1] == f"{figures['map_small']:.3f}"
    assert re.fullmatch(r"\d\.\d{3} to \d\.\d{3}", small[2])
    for name, one in figures["per_class"].items():
        assert [name, str(one["boxes"]), f"{one['map']:.3f}"] in [row[:3] for row in told]


def test_the_data_is_named_without_its_place(card, mar, demo_data):
    spec = boxwright.inspect(mar).spec
    told = sections(card)["Data"]
    assert f"Name: {demo_data.name}\n" in told
    assert spec.provenance["data_fingerprint"] in told
    assert str(demo_data.parent) not in card
    counted = spec.provenance["data_description"]["boxes"]
    for name in spec.class_names:
        assert [name, *(str(counts[name]) for counts in counted.values())] in rows(told)
    assert {split: sum(counts.values()) for split, counts in counted.items()} == {
        split: counts["boxes"] for split, counts in spec.provenance["data"].items()
    }


def test_worst_pictures_operating_point_and_digests_stand_there(card, mar):
    inside = boxwright.inspect(mar)
    told = sections(card)
    assert f"from score {inside.spec.operating_point.threshold:.3f}" in told["Operating point"]
    failing = rows(told["Where it fails"])[2:]
    assert failing
    assert all(sum(map(int, row[3:])) > 0 for row in failing)
    for member in inside.members:
        if member.name.startswith("model") and member.name.endswith((".pth", ".onnx")):
            assert [member.name, f"`{member.sha256}`"] in rows(told["Provenance"])


def test_the_licence_is_that_of_the_starting_weights(run):
    spec = open_bundle(run).spec
    for told, expected in (
        ("torchvision's, BSD-3-Clause; trained on COCO", "bsd-3-clause"),
        ("Apache-2.0; trained on COCO", "apache-2.0"),
        ("their publishers name none; trained with MIT's pictures", "unknown"),
    ):
        known = replace(spec, provenance={**spec.provenance, "weights": "/home/me/x.pth", "weights_licence": told})
        text = model_card(known)
        assert ModelCard(text).data.license == expected
        assert "Weights it started from: x.pth\n" in text
        assert "/home/me" not in text


def test_licences_come_from_the_annotation_files(real_data, demo_data):
    aquarium = describe_data(boxwright_folder(real_data / "aquarium"))
    assert aquarium["name"] == "aquarium"
    assert aquarium["licences"] == ["CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)"]
    assert aquarium["sources"] == ["https://public.roboflow.ai/object-detection/aquarium"]
    width, height = aquarium["smallest_box"]
    assert 0 < width * height < 32 * 32
    assert describe_data(boxwright_folder(demo_data))["name"] == "data"


def boxwright_folder(root):
    from boxwright.data import read_folder

    return read_folder(root, pixels=False)


def test_notes_of_the_makers_stand_in_their_place(run, tmp_path):
    notes = tmp_path / "notes.md"
    notes.write_text("For sorting shapes. Ask Ada.\n", encoding="utf-8")
    done = command("archive", run, "--no-export", "--card-notes", notes, "--store", tmp_path)
    assert done.returncode == 0, done.stderr
    text = boxwright.inspect(tmp_path / "tiny.mar").card
    assert "For sorting shapes. Ask Ada.\n" in sections(text)["Intended use and limits"]
    assert TO_BE_FILLED_IN not in text


def test_without_notes_the_place_is_marked(card):
    assert card.count(TO_BE_FILLED_IN) == 1


@pytest.mark.parametrize(("content", "fault"), [(b" \n", "is empty"), (b"\xff", "cannot be read"), (None, "No such")])
def test_notes_that_cannot_be_used_are_refused(tmp_path, content, fault):
    if content is not None:
        (tmp_path / "notes.md").write_bytes(content)
    with pytest.raises(ConfigError, match=fault):
        read_notes(tmp_path / "notes.md")


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), min_size=1).filter(str.strip))
def test_a_name_is_shown_as_it_is_written_and_is_no_markup(name):
    """Read by Markdown's rules: what is not escaped is neither HTML, a link, emphasis, code nor the end of a cell."""
    spec = ModelSpec("m", "a", (ClassEntry(1, name),), InputSpec(64, 64))
    text = model_card(spec, facts=CardFacts([Failure(name, "missed", 1, 1, 0, 0)], split="valid"))
    (line,) = (one for one in text.splitlines() if one.startswith("- It finds boxes of: "))
    shown = line.removeprefix("- It finds boxes of: ").split(". An object of another")[0]
    assert not re.search(r"(?<!\\)(?:\\\\)*[<>`*\[\]|&$~]", shown)
    if all(one.isprintable() for one in name):
        assert re.sub(r"\\(.)", r"\1", shown) == name
    (row,) = (one for one in text.splitlines() if one.endswith("| missed | 1 | 1 | 0 | 0 |"))
    assert len(re.split(r"(?<!\\)(?:\\\\)*\|", row)) == 8


def test_a_specification_of_any_shape_has_a_card():
    """A later version, or somebody else, may record other things."""
    odd = {"valid": {"map": [1], "intervals": 7, "per_class": {"x": 3}, "images": None}, "empty": {}}
    recorded = {
        "data": {"train": 3},
        "data_description": {"licences": 7, "boxes": [], "smallest_box": "ab"},
        "weights": 7,
    }
    spec = ModelSpec("m", "a", (ClassEntry(1, "x"),), InputSpec(64, 64), measured=odd, provenance=recorded)
    assert ModelCard(model_card(spec)).data.model_name is None
    assert "never measured" in model_card(replace(spec, measured={}))


def test_a_run_and_its_archive_have_the_same_card_but_for_what_is_new(run, card):
    spec = open_bundle(run).spec
    of_run, of_archive = sections(model_card(spec, facts=facts_of_run(run, spec))), sections(card)
    assert {name for name in of_archive if of_archive[name] != of_run[name]} == {"Provenance"}


def test_it_is_printed_whole_and_alone(mar, card):
    done = command("archive", mar, "--inspect", "--card")
    assert (done.returncode, done.stdout) == (0, card), done.stderr
    assert "--inspect --card" in command("archive", mar, "--inspect").stdout


def test_speed_that_was_measured_here_is_in_what_is_printed(mar, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    copy = tmp_path / "tiny.mar"
    copy.write_bytes(mar.read_bytes())
    write_entry(copy, open_bundle(copy), describe_machine(), [RUN], "2026-01-01T00:00:00+00:00")
    printed = command("archive", copy, "--inspect", "--card").stdout
    assert ["onnxruntime-fp32", "1", "2 x 1", "12.3", "81.0"] in rows(sections(printed)["Speed"])
    assert {
        name for name, text in sections(printed).items() if text != sections(boxwright.inspect(mar).card)[name]
    } == {"Speed"}


def test_a_makers_section_on_speed_stays_theirs(mar):
    spec = boxwright.inspect(mar).spec
    text = with_speed(
        model_card(spec, facts=CardFacts(notes="## Speed\n\nAt most 5 frames per second.")), [RUN], "here"
    )
    assert "At most 5 frames per second." in text
    assert "an archive does not say" not in text


def test_what_is_not_known_is_not_claimed(mar):
    spec = boxwright.inspect(mar).spec
    nothing = replace(spec, operating_point=OperatingPoint(0.5, "f2", 0.0, "valid"))
    assert "It was not chosen on data." in sections(model_card(nothing))["Operating point"]
    bounded = replace(spec, operating_point=OperatingPoint(0.4, "precision>=0.9", 0.392, "valid", (0.3, 0.5)))
    assert "with a recall there of 0.392" in sections(model_card(bounded))["Operating point"]
    assert "No picture of valid has a mistake" in model_card(spec, facts=CardFacts(split="valid"))
    scratch = {**spec.provenance, "weights": "a-run", "weights_licence": "trained from scratch"}
    assert "`license` above is for you to set" in model_card(replace(spec, provenance=scratch))


def test_names_with_joiners_are_shown_as_they_are_written(mar):
    spec = boxwright.inspect(mar).spec
    names = ("\u062e\u0627\u0646\u0647\u200c\u0647\u0627", "👨\u200d👩\u200d👧", "a\u00a0b")
    text = model_card(replace(spec, classes=tuple(ClassEntry(index, name) for index, name in enumerate(names))))
    assert all(name in text for name in names)
    assert "\u202e" not in model_card(replace(spec, classes=(ClassEntry(0, "a\u202eb"),)))


def test_a_card_without_a_section_on_speed_stays_as_it_is():
    assert with_speed("# mine\n", [RUN], "here") == "# mine\n"


def test_an_archive_without_a_card_opens_and_says_so(mar, tmp_path):
    members = {name: content for name, content in members_of(mar).items() if name not in (CARD, CHECKSUMS)}
    old = tmp_path / "old.mar"
    old.write_bytes(packed(listed(members)))
    assert boxwright.inspect(old).card is None
    assert "No model card" in command("archive", old, "--inspect").stdout
    refused = command("archive", old, "--inspect", "--card")
    assert refused.returncode == 2
    assert "has no model card" in refused.stderr


@pytest.mark.parametrize(("content", "fault"), [(b"\xff", "not UTF-8"), (b"x" * (1024**2 + 1), "larger than")])
def test_a_card_that_is_no_text_or_too_long_is_refused(mar, tmp_path, content, fault):
    bad = tmp_path / "bad.mar"
    bad.write_bytes(packed(listed({**members_of(mar), CARD: content})))
    with pytest.raises(ArchiveError, match=fault):
        open_bundle(bad)


def test_control_characters_of_a_card_do_not_reach_the_terminal(mar, tmp_path):
    bad = tmp_path / "bad.mar"
    bad.write_bytes(packed(listed({**members_of(mar), CARD: b"# \x1b[2Jx\n"})))
    assert command("archive", bad, "--inspect", "--card").stdout == "# \\x1b[2Jx\n"


def test_the_card_is_in_the_json(mar, card, tmp_path):
    command("archive", mar, "--inspect", "--json", tmp_path / "c.json")
    assert json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))["card"] == card


def test_no_further_member_takes_its_place(run, tmp_path):
    bundle = open_bundle(run)
    with pytest.raises(ArchiveError, match="own"):
        write_archive(bundle.spec, bundle.weights, "1", tmp_path, {CARD: b"mine"})


def test_card_goes_with_inspect(run, tmp_path):
    refused = command("archive", run, "--card", "--store", tmp_path)
    assert refused.returncode == 2
    assert "--inspect" in refused.stderr


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (0.5, "of 100 annotated boxes 50 are found and 50 missed"),
        (0.996, "of 1,000 annotated boxes 996 are found and 4 missed"),
        (0.0004, "of 10,000 annotated boxes 4 are found and 9,996 missed"),
        (1.0, "of 100 annotated boxes 100 are found and 0 missed"),
    ],
)
def test_nothing_is_called_all_or_none_that_is_not(share, told):
    point = OperatingPoint(0.3, objective="f2", value=0.5, split="valid")
    measured = {"valid": {"recall": share, "precision": 0.5}}
    spec = ModelSpec("m", "a", (ClassEntry(1, "x"),), InputSpec(64, 64), operating_point=point, measured=measured)
    assert told in model_card(spec)
