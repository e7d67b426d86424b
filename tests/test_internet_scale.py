"""docs/internet-scale.md says what ``benchmarks/capacity.py`` computes, from what benchmarks/RESULTS.md holds."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import capacity

REPOSITORY = Path(__file__).parents[1]
PAGE = (REPOSITORY / "docs" / "internet-scale.md").read_text()
RESULTS = (REPOSITORY / "benchmarks" / "RESULTS.md").read_text()


def test_the_page_has_the_tables_that_are_computed():
    tables = capacity.tables()
    for title, table in tables.items():
        assert table in PAGE, f"{title}: run python benchmarks/capacity.py"
    assert PAGE.count("\n| --- |") == len(tables)


@pytest.mark.parametrize(
    "one",
    [*(one for network in capacity.NETWORKS for one in (network.bare, network.served, network.memory)), capacity.LOOP],
    ids=lambda one: one.what,
)
def test_what_was_measured_is_in_the_results(one):
    assert one.quote in RESULTS
    assert f"{one.value:g}" in one.quote.replace("**", "")


def test_nodes_follow_from_the_rate():
    """By hand: 32 cores at 70 % do 16 x 100 / 1.1 x .7 = 1018 pictures a second."""
    given = capacity.Assumed(cores=32, load=0.7, overhead=0.1)
    assert capacity.nodes(given, 1018, 100) == 1
    assert capacity.nodes(given, 1019, 100) == 2
    assert capacity.nodes(given, 10 * 1018, 100) == 10
    assert capacity.nodes(replace(given, overhead=0.0), 1120, 100) == 1


def test_no_node_is_asked_for_more_than_it_has():
    """Which the page says of its network; and the replicas fit in its memory."""
    given = capacity.Assumed()
    for network in capacity.NETWORKS:
        rate = given.pictures_a_day / capacity.DAY
        gigabits = rate * given.picture_bytes * 8 / 1e9 / capacity.nodes(given, rate, network.bare.value)
        assert gigabits < given.gigabits
        assert given.cores / 2 * network.memory.value / 1024 < given.memory_gib


def test_the_part_of_a_list_that_a_lost_node_costs():
    from boxwright.scale.prediction import _MOST

    assert f"at most {_MOST:,} pictures" in PAGE
