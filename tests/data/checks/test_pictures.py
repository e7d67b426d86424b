import dhash
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from boxwright.data.checks.pictures import ListedPicture, compare_pictures
from boxwright.data.checks.scan import PictureFacts

greys = arrays.arrays(np.uint8, 81)


def listed(pictures):
    return [
        ListedPicture(split, f"{number}.jpg", PictureFacts((9, 9), digest=bytes([number]), greys=grey.tobytes()))
        for number, (split, grey) in enumerate(pictures)
    ]


@given(st.lists(st.tuples(st.sampled_from(["train", "valid"]), greys, st.booleans()), min_size=2, max_size=12))
def test_groups_are_those_of_comparing_every_pair(pictures):
    """Against a slow reference that walks from picture to picture."""
    base = pictures[0][1]
    made = [(split, np.clip(base.astype(int) + grey % 5, 0, 255).astype(np.uint8) if near else grey)
            for split, grey, near in pictures]  # fmt: skip
    hashes = [dhash.dhash_int(grey.tolist(), 8) for _, grey in made]
    contrast = [int(grey.max()) - int(grey.min()) >= 16 for _, grey in made]

    def alike(one, other):
        bits = dhash.get_num_bits_different(hashes[one], hashes[other])
        difference = np.abs(made[one][1].astype(int) - made[other][1].astype(int)).mean()
        return contrast[one] and contrast[other] and bits <= 10 and difference <= 12

    left, groups = set(range(len(made))), []
    while left:
        group, border = set(), {min(left)}
        while border:
            group |= border
            border = {other for one in border for other in left - group if alike(one, other)}
        left -= group
        groups.append(sorted(group))
    expected = {f"{group[0]}.jpg": len({made[one][0] for one in group}) > 1 for group in groups if len(group) > 1}
    found = {finding.file: finding.code == "leak-similar" for finding in compare_pictures(listed(made))}
    assert found == expected


def test_a_large_group_is_counted_not_listed():
    grey = np.arange(81, dtype=np.uint8)
    findings = list(compare_pictures(listed([("train" if n % 2 else "valid", grey) for n in range(9)])))
    assert len(findings) == 1
    assert "and 5 more (valid 5, train 4)" in findings[0].message


def test_the_same_name_in_two_splits_is_two_pictures():
    """Train's copy resembles another of train; that says nothing of the copy of that name in valid."""
    generator = np.random.default_rng(0)
    one, other = (generator.integers(0, 256, 81).astype(np.uint8).tobytes() for _ in range(2))
    name = "a.rf.0.jpg"
    pictures = [
        ListedPicture(split, name, PictureFacts((9, 9), digest=bytes([number]), greys=greys))
        for number, (split, name, greys) in enumerate(
            [("train", name, one), ("train", "b.jpg", one), ("valid", name, other)]
        )
    ]
    assert {finding.code for finding in compare_pictures(pictures)} == {"similar-pictures", "leak-source"}
