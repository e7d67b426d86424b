import math

from boxwright.host.listing import Listed, Listing, shown, shown_range

TABLE = Listing("Two <things>", ("name", "value"), (("a", "0.5000"), ("longer & wider", "-")), ("A note.",))


def test_text_is_aligned():
    assert TABLE.text().splitlines() == [
        "Two <things>",
        "  name             value",
        "  a               0.5000",
        "  longer & wider       -",
        "A note.",
    ]


def test_html_is_escaped_and_without_a_table_where_there_are_no_rows():
    assert "Two &lt;things&gt;" in TABLE.html()
    assert "<td>longer &amp; wider</td>" in TABLE.html()
    assert Listing("Nothing", ("a",), ()).html() == "<div><p>Nothing</p></div>"
    assert Listing("Nothing", ("a",), ()).text() == "Nothing"


def test_figures_that_do_not_exist_are_dashes():
    assert (shown(None), shown(math.nan), shown(0.5)) == ("-", "-", "0.5000")
    document = {"intervals": {"map": [0.1, 0.25], "f2": [None, None]}}
    assert [shown_range(document, key) for key in ("map", "f2", "recall")] == ["0.1000 to 0.2500", "-", "-"]


def test_print_a_list_and_a_notebook_show_it():
    class Result(Listed):
        def listing(self):
            return TABLE

    assert str(Result()) == TABLE.text()
    assert repr([Result()]) == "[<Two <things>>]"
    assert Result()._repr_html_() == TABLE.html()
