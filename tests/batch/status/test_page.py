from __future__ import annotations

from html.parser import HTMLParser

import pytest

from medkit.batch.ledger import LedgerView, Mode, Stage, State
from medkit.batch.status.alerts import Thresholds, alerts
from medkit.batch.status.page import ROWS, PageQuery, content_security_policy, render_page
from tests.batch.status.live import STATES, crowd, study
from tests.batch.status.test_summary import look

# A refresh and what loads from elsewhere aside, these are all the elements that need no end.
_VOID = {"meta", "link", "br", "hr", "img", "input"}
_LARGEST = 60_000  # bytes


class Page(HTMLParser):
    """The page's elements, checked to be closed in their order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.rows, self.text = [], [], [], 0, ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "a":
            self.links.append(dict(attributes)["href"])
        self.rows += tag == "code"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def draw(batch, query=""):
    summary = look(batch)
    told = alerts(summary, Thresholds())
    text = render_page(batch.ledger, summary, told, PageQuery.parse(query), "night")
    assert len(text.encode()) < _LARGEST
    return Page(text)


def test_an_empty_batch(batch):
    page = draw(batch)
    assert "Nothing for a person to do." in page.text
    assert "None came yet." in page.text
    assert page.rows == 0


def test_what_comes_again_is_listed_with_what_is_being_received(batch):
    batch.deliver("back")
    batch.receive("back")
    batch.receive("new")
    page = draw(batch, "state=receiving")
    assert "delivered more arrives" in " ".join(page.text.split())
    assert "those that come again too" in page.text
    assert page.rows == 2
    assert "2, 1 of them again, the first for" in draw(batch).text


def test_it_says_whose_instances_were_purged(batch):
    batch.deliver("a")
    assert "purged" not in draw(batch).text
    batch.ledger.purged(study("a"))
    assert "1, purged" in draw(batch).text
    batch.receive("a")
    assert "purged" not in draw(batch).text


def test_a_study_in_each_state(batch):
    page = draw(batch.one_of_each())
    assert "1 study in quarantine; the reason" in page.text
    assert page.rows == 3 + 10
    assert study(State.REFUSED)[:12] in page.text
    assert "tilt of <12> degrees" in page.text, "escaped, or the parser would not see it as text"


def test_it_says_whether_a_service_runs(batch):
    assert "No service runs" not in draw(batch.one_of_each()).text
    batch.service.release()
    assert "No service runs on this folder." in draw(batch).text


@pytest.mark.parametrize("mode", [Mode(), Mode(shadow=True), Mode(about="shift-dates 0123abcd")])
def test_it_says_how_the_batch_is_run(batch, mode):
    batch.ledger.run_as(mode)
    page = draw(batch.one_of_each())
    assert ("A shadow: results are made, and none is sent." in page.text) is mode.shadow
    assert ("made, not to be sent" in page.text) is mode.shadow
    about = "Results are about nobody (shift-dates)."
    assert (about in page.text) is bool(mode.about)


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs(batch):
    page = draw(batch.one_of_each())
    assert not {"script", "img", "iframe", "object", "form", "link"} & {tag for tag, _ in page.tags}
    attributes = [attribute for _, given in page.tags for attribute in given]
    assert not [name for name in attributes if name.startswith("on") or name in ("src", "style")]
    assert all(link.startswith("/") and not link.startswith("//") for link in page.links)
    assert content_security_policy().count("'none'") == 4


def test_each_column_and_row_has_its_head(batch):
    page = draw(batch.one_of_each())
    heads = [given for tag, given in page.tags if tag == "th"]
    assert heads
    assert all(given.get("scope") in ("row", "col") for given in heads)
    (root,) = [given for tag, given in page.tags if tag == "html"]
    assert root["lang"] == "en"


@pytest.mark.parametrize("state", STATES)
def test_the_studies_of_one_state(batch, state):
    page = draw(batch.one_of_each(), f"state={state}")
    assert page.rows == 1
    assert study(state)[:12] in page.text
    assert [given["href"] for tag, given in page.tags if given.get("aria-current")] == [f"/?state={state}"]


def test_many_studies_come_page_by_page(batch):
    for number in range(2 * ROWS + 1):
        batch.arrive(f"{number}")
        batch.clock.pass_by(1)
    pages = [draw(batch, f"state=ready&page={number}") for number in (1, 2, 3, 99)]
    assert [page.rows for page in pages] == [ROWS, ROWS, 1, 1]
    assert study(f"{2 * ROWS}")[:12] in pages[0].text, "the newest first"
    assert study("0")[:12] in pages[2].text
    assert "/?state=ready&page=2" in pages[0].links
    assert "/?state=ready" in pages[1].links
    assert "3 of 3" in pages[3].text
    assert draw(batch).rows == 20


def test_thousands_of_studies_make_no_large_page(batch):
    crowd(batch, 5000)
    page = draw(batch)
    assert page.rows == 40
    assert "5,000" in page.text
    assert "500 studies in quarantine" in page.text
    assert draw(batch, "state=delivered&page=80").rows == ROWS
    assert draw(batch, "state=quarantined").rows == ROWS


def test_it_can_be_made_to_stand_still(batch):
    def refreshes(page):
        return [given["content"] for _, given in page.tags if given.get("http-equiv") == "refresh"]

    assert refreshes(draw(batch)) == ["30"]
    still = draw(batch, "refresh=0&state=made")
    assert refreshes(still) == []
    assert "/?state=ready&refresh=0" in still.links, "it stays still"
    assert "/?state=made" in still.links, "until it is set going again"


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", PageQuery()),
        ("state=superseded&page=0", PageQuery()),
        ("state=%3Cscript%3E&page=1e9&refresh=yes", PageQuery()),
        ("page=٣&page=" + "9" * 30, PageQuery()),
        ("state=made&page=3&refresh=0", PageQuery(State.MADE, 3, False)),
    ],
)
def test_what_cannot_be_asked_for_is_left_out(text, query):
    assert PageQuery.parse(text) == query


def test_links_lead_where_they_say():
    query = PageQuery(State.MADE, 3, False)
    assert PageQuery.parse(query.link(page=3).removeprefix("/?")) == query
    assert query.link(state=None) == "/?refresh=0"
    assert PageQuery().link() == "/"


def test_it_is_drawn_while_workers_go_on(batch):
    batch.arrive("a")
    summary = look(batch)
    batch.ledger.claim(Stage.MAKE)
    with LedgerView(batch.job.ledger, batch.clock) as view:
        page = Page(render_page(view, summary, [], PageQuery(State.READY), "night"))
    assert (page.rows, "None." in page.text) == (0, True)


def test_what_is_delivered_and_refused_in_part_says_so(batch):
    batch.deliver("one", refused="1 of 2 series that rules want was refused (gap)")
    page = draw(batch)
    said = "partly-refused 1 of 2 series that rules want was refused (gap)"
    assert page.text.count(said) == 2, "in trouble, and among the latest"
    assert said in draw(batch, "state=delivered").text
