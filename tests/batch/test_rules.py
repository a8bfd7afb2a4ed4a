from __future__ import annotations

import re

import pytest

from medkit.batch.rules import FACTS, Criteria, Job, Range, Rule, choose, might_fit, mismatch
from medkit.errors import CaseError

T1 = Criteria(modality=frozenset({"MR"}), series_description=re.compile("(?i)t1"))
FLAIR = Criteria(modality=frozenset({"MR"}), series_description=re.compile("(?i)flair"))
BRAIN = Rule("brain", "brain_bundle", {"image": T1})


def facts(name="003", **known):
    base = {
        "series": name,
        "patient": "p",
        "study": "s",
        "frame_of_reference": "f",
        "modality": "MR",
        "body_part": "BRAIN",
        "series_description": "T1 MPRAGE",
        "slice_thickness_mm": 1.0,
        "slices": 176,
        "contrast_agent": False,
        "image_type": ["ORIGINAL", "PRIMARY", "M"],
        "own_result": False,
    }
    assert tuple(base) == FACTS
    assert known.keys() <= base.keys()
    return {**base, **known}


def test_a_rule_that_fits_chooses_its_bundle():
    choice = choose([BRAIN], [facts("003"), facts("004", series_description="T2")])
    assert choice.jobs == (Job("brain", "brain_bundle", (("image", "003"),)),)
    assert choice.reasons == ()


def test_no_rule_is_not_for_us_and_says_why():
    choice = choose([BRAIN], [facts(modality="CT"), facts("004", series_description="DOE JOHN")])
    assert choice.jobs == ()
    (reason,) = choice.reasons
    assert reason == (
        "rule 'brain': no series for 'image' (003: modality CT, not MR; 004: its description does not have (?i)t1)"
    )
    assert choose([BRAIN], []).reasons == ("rule 'brain': no series for 'image' (there is none)",)


ASKED = [
    ("modality", Criteria(frozenset({"MR", "CT"})), "MR", "PT", "modality PT, not CT or MR"),
    (
        "body_part",
        {"body_part": frozenset({"BRAIN", "HEAD"})},
        "head ",
        "CHEST",
        "body_part is another, not BRAIN or HEAD",
    ),
    ("series_description", {"series_description": re.compile("^t1")}, "t1 3d", "a t1", "does not have ^t1"),
    (
        "slice_thickness_mm",
        {"slice_thickness_mm": Range(0.5, 1.5)},
        1.5,
        1.6,
        "slice_thickness_mm 1.6, not 0.5 to 1.5",
    ),
    ("slices", {"slices": Range(20, float("inf"))}, 20, 19, "slices 19, not 20 to inf"),
    ("contrast_agent", {"contrast_agent": False}, False, True, "contrast_agent true, not false"),
    ("contrast_agent", {"contrast_agent": True}, True, False, "contrast_agent false, not true"),
    (
        "image_type",
        {"image_type_has": frozenset({"M"})},
        ["ORIGINAL", "PRIMARY", "m"],
        ["ORIGINAL"],
        "without M",
    ),
    (
        "image_type",
        {"image_type_lacks": frozenset({"MPR"})},
        ["ORIGINAL"],
        ["ORIGINAL", "PRIMARY", "MPR"],
        "with MPR",
    ),
]


@pytest.mark.parametrize(("fact", "criteria", "right", "wrong", "reason"), ASKED)
def test_each_criterion_takes_what_it_names_and_nothing_unknown(fact, criteria, right, wrong, reason):
    if isinstance(criteria, dict):
        criteria = Criteria(modality=frozenset({"MR"}), **criteria)
    assert mismatch(criteria, facts(**{fact: right})) is None
    assert reason in mismatch(criteria, facts(**{fact: wrong}))
    assert mismatch(criteria, facts(**{fact: None})) is not None, "what is not told is no match"


@pytest.mark.parametrize(
    "fact", ["body_part", "series_description", "slice_thickness_mm", "slices", "contrast_agent"]
)
def test_what_is_not_asked_about_need_not_be_told(fact):
    assert mismatch(Criteria(frozenset({"MR"})), facts(**{fact: None})) is None


MARKED = {
    "derived": {"image_type": ["DERIVED", "PRIMARY"]},
    "secondary": {"image_type": ["ORIGINAL", "SECONDARY"]},
    "unmarked": {"image_type": None},
    "own-result": {"own_result": True},
}


@pytest.mark.parametrize("mark", MARKED)
def test_marked_series_are_left_out_unless_told(mark):
    marked = facts(**MARKED[mark])
    assert mismatch(T1, marked) == f"it is {mark}, which is not accepted"
    told = Criteria(T1.modality, accept=frozenset({mark}))
    assert mismatch(told, marked) is None
    others = frozenset(MARKED) - {mark}
    assert mismatch(Criteria(T1.modality, accept=others), marked) is not None


def test_an_own_result_is_no_input_because_derived_ones_are():
    own = facts(image_type=["DERIVED", "SECONDARY"], own_result=True)
    told = Criteria(T1.modality, accept=frozenset({"derived", "secondary"}))
    assert mismatch(told, own) == "it is own-result, which is not accepted"


def test_two_series_for_one_input_are_not_guessed():
    with pytest.raises(
        CaseError, match="rule 'brain': expected one series for 'image', got 003, 004"
    ) as caught:
        choose([BRAIN], [facts("003"), facts("004")])
    assert caught.value.code == "rules-ambiguous"


def test_a_rule_may_take_each():
    rule = Rule("brain", "brain_bundle", {"image": T1}, each=True)
    jobs = choose([rule], [facts("003"), facts("004")]).jobs
    assert [job.inputs for job in jobs] == [(("image", "003"),), (("image", "004"),)]


def test_two_bundles_for_one_series_are_not_guessed():
    other = Rule("other", "other_bundle", {"image": Criteria(frozenset({"MR"}))})
    message = (
        r"series 003: expected one rule for it, got 'brain' \(brain_bundle\) and 'other' \(other_bundle\)"
    )
    with pytest.raises(CaseError, match=message) as caught:
        choose([BRAIN, other], [facts()])
    assert caught.value.code == "rules-ambiguous"
    assert (
        len(choose([BRAIN, other], [facts("003", modality="CT"), facts("004", series_description="x")]).jobs)
        == 1
    )


def test_two_rules_that_mean_the_same_are_one_job():
    again = Rule("again", "brain_bundle", {"image": Criteria(frozenset({"MR"}))})
    assert choose([BRAIN, again], [facts()]).jobs == (Job("brain", "brain_bundle", (("image", "003"),)),)


def test_series_of_two_rules_go_their_ways():
    liver = Rule("liver", "liver_bundle", {"image": Criteria(frozenset({"CT"}))})
    jobs = choose([BRAIN, liver], [facts("003"), facts("004", modality="CT")]).jobs
    assert [(job.bundle, job.inputs) for job in jobs] == [
        ("brain_bundle", (("image", "003"),)),
        ("liver_bundle", (("image", "004"),)),
    ]


TUMOUR = Rule("tumour", "tumour_bundle", {"t1": T1, "flair": FLAIR})


def pair(**second):
    return [facts("003"), facts("004", **{"series_description": "FLAIR", **second})]


def test_several_inputs_of_one_examination_go_together():
    assert choose([TUMOUR], pair()).jobs == (
        Job("tumour", "tumour_bundle", (("t1", "003"), ("flair", "004"))),
    )
    lacking = choose([TUMOUR], [facts("003")])
    assert lacking.jobs == ()
    assert "no series for 'flair'" in lacking.reasons[0]


@pytest.mark.parametrize("shared", ["patient", "study", "frame_of_reference"])
@pytest.mark.parametrize(("value", "what"), [("another", "different ones"), (None, "an unknown one")])
def test_inputs_must_be_of_one_examination(shared, value, what):
    message = f"expected inputs of one {shared.replace('_', ' ')}, got {what} in 003, 004"
    with pytest.raises(CaseError, match=message) as caught:
        choose([TUMOUR], pair(**{shared: value}))
    assert caught.value.code == "inputs-apart"
    assert choose([BRAIN], [facts(**{shared: value})]).jobs, "one input has nobody to share it with"


def test_two_unknown_frames_of_reference_are_not_the_same():
    unknown = [{**one, "frame_of_reference": None} for one in pair()]
    with pytest.raises(CaseError, match="an unknown one"):
        choose([TUMOUR], unknown)


def test_one_series_is_not_two_inputs():
    with pytest.raises(
        CaseError, match="expected a series of its own for 't1' and 'flair', got 003 for both"
    ):
        choose([TUMOUR], [facts(series_description="T1 FLAIR")])


def test_facts_are_whole():
    for name in FACTS:
        with pytest.raises(ValueError, match=f"got none on {name}"):
            choose([BRAIN], [{key: value for key, value in facts().items() if key != name}])
    with pytest.raises(ValueError, match="a name of its own for each series"):
        choose([BRAIN], [facts(), facts()])


@pytest.mark.parametrize("name", ["modality", "body_part", "series_description"])
def test_reasons_hold_no_words_of_a_header(name):
    criteria = Criteria(frozenset({"MR"}), frozenset({"BRAIN"}), re.compile("t1"))
    told = mismatch(criteria, facts(**{"body_part": "BRAIN", name: "JANE DOE 4711"}))
    assert told
    assert "DOE" not in told


ALL = Criteria(
    frozenset({"MR"}),
    body_part=frozenset({"BRAIN"}),
    series_description=re.compile("(?i)t1"),
    slice_thickness_mm=Range(0.5, 2),
    slices=Range(80, 300),
    contrast_agent=False,
    image_type_has=frozenset({"M"}),
    image_type_lacks=frozenset({"LOCALIZER"}),
)
KNOWN = ("modality", "body_part", "series_description", "slice_thickness_mm", "contrast_agent", "image_type")


@pytest.mark.parametrize("known", [(), *((name,) for name in KNOWN), KNOWN])
def test_what_is_not_known_of_a_series_does_not_keep_it_from_fitting(known):
    whole = facts()
    assert might_fit(ALL, {name: whole[name] if name in known else None for name in FACTS})


@pytest.mark.parametrize(
    "other",
    [
        {"modality": "CT"},
        {"body_part": "KNEE"},
        {"series_description": "localizer"},
        {"slice_thickness_mm": 8.0},
        {"contrast_agent": True},
        {"image_type": ["ORIGINAL", "PRIMARY", "M", "LOCALIZER"]},
        {"image_type": ["DERIVED", "PRIMARY", "M"]},
        {"own_result": True},
    ],
)
def test_what_is_known_of_a_series_keeps_it_from_fitting(other):
    assert not might_fit(ALL, dict.fromkeys(FACTS) | other)
