"""The page in a real browser: what a person does, sees and hears; nothing leaves the house.

Playwright drives the system's Chromium: it waits for what it is asked of, records every request and
console message, and speaks to the browser directly, so that no driver has to match its version.
"""

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from math import ceil, floor
from pathlib import Path
from typing import Any

import pytest
from page_service import LIMITS, PageService, problem, serving
from serving import served

from synthenticity.scoring.score import Score
from synthenticity.scoring.scorer import Scorer
from synthenticity.serve.model import load_served_model

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
expect.set_options(timeout=30_000)  # milliseconds, on a busy machine
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

SENTENCE = "the king and his fool went to a hall where night fell on stone; who speaks? "
TEXT = SENTENCE * 3
HUMAN = [0.05, 0.1, 0.2, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6]


@pytest.fixture(scope="module")
def scorer(scorer_path: Path) -> Scorer:
    return Scorer.from_pretrained(scorer_path, device="cpu")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def service(scorer: Scorer) -> Iterator[PageService]:
    with serving(PageService(scorer)) as running:
        yield running


@pytest.fixture
def calibrated(service: PageService) -> PageService:
    service.human, service.thresholds = HUMAN, {"0.1": 0.6, "0.2": 0.4}
    return service


class Visit:
    """A browser's page that notes every request and whatever the console says."""

    def __init__(self, page: Any, service: PageService) -> None:
        self.page, self.service = page, service
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self) -> "Visit":
        self.page.goto(self.service.url)
        expect(self["#model"]).to_contain_text("Scorer runs/scorer, weights 3f9a6d1c0b7e")
        return self

    def __getitem__(self, selector: str) -> Any:
        return self.page.locator(selector)

    def score(self, text: str) -> "Visit":
        self["#text"].fill(text)
        self["#go"].click()
        expect(self["#result"]).to_be_visible()
        expect(self["#busy"]).to_be_hidden()
        return self

    def heat(self) -> str:
        """Return the heat map's text."""
        return str(self["#words"].evaluate("node => node.textContent"))

    def pieces(self) -> list[tuple[str, int]]:
        """Return the stretches of the heat map, each with its shade."""
        found = self["#words"].evaluate(
            "all => [...all.childNodes].map(n => [n.textContent, n.className ?? 's0'])"
        )
        return [(text, int(names[1])) for text, names in found]

    def drop(self, name: str, content: bytes) -> None:
        """Let go of a file over the page."""
        carried = self.page.evaluate_handle(
            """([name, bytes]) => {
                const carried = new DataTransfer();
                carried.items.add(new File([new Uint8Array(bytes)], name));
                return carried;
            }""",
            [name, list(content)],
        )
        self["main"].dispatch_event("drop", {"dataTransfer": carried})


@pytest.fixture
def visit(browser: Any, service: PageService) -> Iterator[Visit]:
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme="light", reduced_motion="reduce"
    )
    yield Visit(context.new_page(), service)
    context.close()


def shade(probability: float) -> int:
    return min(9, int(10 * probability))


def test_a_text_is_scored_and_shown_as_it_is_with_a_shade_a_token(
    visit: Visit, scorer: Scorer
) -> None:
    visit.open().score(TEXT)
    score = scorer.score(TEXT)
    assert visit.service.asked == [{"texts": [TEXT], "tokens": True, "sentences": True}]
    assert visit.heat() == TEXT
    shades = [level for text, level in visit.pieces() for _ in text]
    assert shades == [shade(value) for value in score.probabilities]
    assert len(visit.pieces()) < len(TEXT)  # neighbours of one shade are one element
    underlined = visit["#words .u"].evaluate_all("all => all.map(n => n.textContent).join('')")
    assert underlined == "".join(span.text for span in score.spans)
    low, high = score.interval
    expect(visit["#number"]).to_have_text(f"{score.synthenticity:.0%}")
    expect(visit["#meaning"]).to_contain_text(f"(synthenticity {score.synthenticity:.3f})")
    expect(visit["#meaning"]).to_contain_text(
        f"between {floor(100 * low)} % and {ceil(100 * high)} %"
    )
    expect(visit["#replaced"]).to_contain_text(f"Replaced: {100 * score.replaced:.0f} %")
    expect(visit["#by"]).to_have_text("So says the scorer “runs/scorer”. Evidence, not proof.")
    expect(visit["#status"]).to_contain_text("look machine-written")
    band = visit["#bar i"].evaluate("node => [node.style.left, node.style.width]")
    assert [float(end.strip("%")) for end in band] == pytest.approx(
        [100 * low, 100 * (high - low)], abs=1e-3
    )


def test_nothing_is_asked_of_others_and_the_console_stays_silent(visit: Visit) -> None:
    visit.open().score(TEXT)
    visit["#theme"].click()
    visit["#heat"].hover(position={"x": 20, "y": 18})
    assert all(url.startswith((visit.service.url, "data:")) for url in visit.requests)
    asked = [url.removeprefix(visit.service.url) for url in visit.requests if "data:" not in url]
    assert asked == ["", "v1/model", "v1/score"]
    assert visit.complaints == []


@pytest.mark.parametrize(
    "text",
    [
        "the \U0001f642king\U0001f469\u200d\U0001f680 went \U0001f642\U0001f642 to " + TEXT,
        "the <script>document.title = 'x'</script> & <b>king</b> &lt; " + TEXT * 9,
        "\tthe\tking  \n\n\n went  to\na hall\n" + TEXT,
        "e\u0301 the \u05e9\u05dc\u05d5\u05dd king " + TEXT,
    ],
    ids=["emoji", "markup", "white space", "marks"],
)
def test_any_text_stands_in_the_heat_map_to_the_character(
    visit: Visit, scorer: Scorer, text: str
) -> None:
    visit.open().score(text)
    assert visit.heat() == text
    assert visit["#words :not(span)"].count() == 0 and visit.page.title() == "Synthenticity"
    shades = [level for piece, level in visit.pieces() for _ in piece]
    assert shades == [shade(value) for value in scorer.score(text).probabilities]


def place(visit: Visit, units: int) -> dict[str, float]:
    """Return the middle of the character at a UTF-16 unit of the text, in the window."""
    visit["#words"].scroll_into_view_if_needed()
    return dict(
        visit.page.evaluate(
            """(unit) => {
                const walker = document.createTreeWalker($("words"), NodeFilter.SHOW_TEXT);
                let node = walker.nextNode(), left = unit;
                while (left >= node.length) { left -= node.length; node = walker.nextNode(); }
                const range = document.createRange();
                range.setStart(node, left);
                range.setEnd(node, left + (node.data.codePointAt(left) > 0xffff ? 2 : 1));
                const box = range.getBoundingClientRect();
                return { x: (box.left + box.right) / 2, y: (box.top + box.bottom) / 2 };
            }""",
            units,
        )
    )


def test_pointing_at_a_token_shows_the_probability_that_the_service_gave(
    visit: Visit, scorer: Scorer
) -> None:
    text = "the \U0001f642 king \U0001f642\U0001f642 went " + TEXT
    visit.open().score(text)
    tokens = scorer.score(text).tokens
    for number in (0, 4, 5, 11, 12, 17, 40, 130):
        units = len(text[:number].encode("utf-16-le")) // 2
        visit.page.mouse.move(**place(visit, units))
        name = {" ": "space"}.get(text[number], f"“{text[number]}”")
        expect(visit["#tip b"]).to_have_text(f"{tokens[number].probability:.3f}")
        expect(visit["#tip"]).to_contain_text(f"{name} machine-written")
    visit.page.mouse.move(2, 2)
    expect(visit["#tip"]).to_be_hidden()


def test_arrow_keys_walk_from_token_to_token_and_from_stretch_to_stretch(
    visit: Visit, scorer: Scorer
) -> None:
    def certain(score: Score) -> Score:
        logits = score.token_logits.copy()
        logits[:] = -4
        logits[8:12], logits[70:75] = 3, 2
        return dataclasses.replace(score, token_logits=logits)

    visit.service.change = certain
    visit.open().score(TEXT)
    tokens = certain(scorer.score(TEXT)).tokens
    visit["#threshold"].focus()
    visit.page.keyboard.press("Tab")
    expect(visit["#heat"]).to_be_focused()
    seen = {
        "": 0,
        "ArrowRight": 1,
        "ArrowLeft": 0,
        "ArrowDown": 8,
        "ArrowDown ": 70,
        "ArrowDown  ": 70,
        "ArrowUp": 8,
        "End": len(TEXT) - 1,
        "Home": 0,
    }
    for key, number in seen.items():
        if key:
            visit.page.keyboard.press(key.strip())
        value = f"{tokens[number].probability:.3f}"
        expect(visit["#tip b"]).to_have_text(value)
        expect(visit["#spoken"]).to_contain_text(value)
        assert visit.page.evaluate("state.token") == number
        expect(visit["#token-mark i"]).to_be_in_viewport()
    visit.page.keyboard.press("Escape")
    expect(visit["#tip"]).to_be_hidden()
    stops = "[...document.querySelectorAll('*')].filter(n => n.tabIndex >= 0).length"
    assert visit.page.evaluate(stops) < 20


def test_sentences_are_listed_by_place_or_probability_and_lead_to_the_text(
    visit: Visit, scorer: Scorer
) -> None:
    text = "The king went. A fool fell! " + SENTENCE * 9
    visit.open().score(text)
    sentences = scorer.score(text).sentences
    options = visit["#sentences [role=option]"]
    shown = [f"{each.probability:.2f}{each.text.strip()}" for each in sentences]
    assert options.all_text_contents() == shown
    visit["#likeliest"].check()
    order = sorted(range(len(sentences)), key=lambda n: -sentences[n].probability)
    assert options.all_text_contents() == [shown[number] for number in order]
    options.first.focus()
    visit.page.keyboard.press("ArrowDown")
    expect(options.nth(1)).to_be_focused()
    visit.page.keyboard.press("Enter")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    expect(visit["#heat"]).to_be_focused()
    expect(visit["#sentence-mark i"].first).to_be_in_viewport()
    marked = sentences[order[1]]
    assert visit.page.evaluate("state.token") == marked.start
    expect(visit["#spoken"]).to_have_text(f"Sentence, {marked.probability:.2f}: {marked.text}")
    middle = place(visit, marked.start + 2)
    box = visit["#sentence-mark i"].first.bounding_box()
    assert box["y"] <= middle["y"] <= box["y"] + box["height"]
    options.last.click()
    expect(options.last).to_have_attribute("aria-selected", "true")
    assert options.evaluate_all("all => all.filter(n => n.tabIndex === 0).length") == 1


def set_threshold(visit: Visit, value: float) -> None:
    visit["#threshold"].fill(str(value))


@pytest.mark.parametrize("value", [0.15, 0.2])
def test_a_threshold_says_its_false_alarms_and_on_which_side_the_text_is(
    visit: Visit, calibrated: PageService, value: float
) -> None:
    calibrated.change = lambda score: dataclasses.replace(score, uncalibrated=value)
    visit.open().score(TEXT)
    for threshold, above in {0.0: 9, 0.1: 7, 0.2: 5, 0.205: 5, 0.5: 1, 1.0: 0}.items():
        set_threshold(visit, threshold)
        rate = f"False alarms: about {10 + 10 * above} % of human texts."
        lie = "lies" if above == 1 else "lie"
        verdict = f"{'Flagged' if value > threshold else 'Not flagged'} at this threshold."
        expect(visit["#rate"]).to_contain_text(rate)
        expect(visit["#rate"]).to_contain_text(
            f"Of the 9 human documents of the calibration, {above} {lie}"
        )
        expect(visit["#verdict"]).to_have_text(verdict)
        spoken = re.compile(rf"^{threshold:.3f}\. {re.escape(verdict)} {re.escape(rate)}")
        expect(visit["#threshold"]).to_have_attribute("aria-valuetext", spoken)
    expect(visit["#compared"]).to_contain_text(f"before its calibration: {value:.3f}")


def test_calibrated_thresholds_are_set_exactly_and_agree_with_the_services_verdict(
    visit: Visit, calibrated: PageService
) -> None:
    calibrated.thresholds = {"0.2": 0.4000001, "0.1": 0.6}
    calibrated.change = lambda score: dataclasses.replace(score, uncalibrated=0.4000002)
    visit.open().score(TEXT)
    expect(visit["#level"]).to_have_text("0.600")
    expect(visit["#verdict"]).to_have_text("Not flagged at this threshold.")
    visit["#presets button"].nth(1).click()
    expect(visit["#level"]).to_have_text("0.400")
    expect(visit["#verdict"]).to_have_text("Flagged at this threshold.")
    assert visit.page.evaluate("state.result.verdict") == "flagged at 0.2"
    expect(visit["#model"]).to_contain_text("calibrated on 9 human documents")


def test_of_many_human_documents_the_service_has_quantiles_and_the_page_their_number(
    visit: Visit, calibrated: PageService
) -> None:
    calibrated.documents = 9000
    visit.open().score(TEXT)
    for threshold, (rate, lie) in {
        0.0: ("100 %", "about 9,000 lie"),
        0.3: ("33 %", "about 3,000 lie"),
        1.0: ("0.011 %", "about 0 lie"),
    }.items():
        set_threshold(visit, threshold)
        expect(visit["#rate"]).to_contain_text(f"False alarms: about {rate} of human texts.")
        expect(visit["#rate"]).to_contain_text(
            f"Of the 9,000 human documents of the calibration, {lie} above it"
        )
    expect(visit["#strip-words"]).to_have_text("the bars are 9,000 human documents")
    expect(visit["#model"]).to_contain_text("calibrated on 9,000 human documents")


def test_without_human_documents_only_what_the_thresholds_promise_is_said(
    visit: Visit, calibrated: PageService
) -> None:
    calibrated.human = []
    visit.open().score(TEXT)
    set_threshold(visit, 0.5)
    expect(visit["#rate"]).to_have_text(
        "False alarms: at most 20 % of human texts, by the calibration."
    )
    set_threshold(visit, 0.3)
    expect(visit["#rate"]).to_contain_text("is not known below the calibrated threshold")


def test_an_uncalibrated_scorer_flags_nothing_and_says_how_to_calibrate_it(visit: Visit) -> None:
    visit.open().score(TEXT)
    expect(visit["#rate"]).to_contain_text("is not known, because this scorer was not calibrated")
    expect(visit["#rate code"]).to_have_text("synthenticity calibrate RUN --human DOCS")
    set_threshold(visit, 0)
    expect(visit["#verdict"]).to_have_text("This text is above this threshold.")
    set_threshold(visit, 1)
    expect(visit["#verdict"]).to_have_text("This text is not above this threshold.")
    expect(visit["#model"]).to_contain_text("not calibrated")


@pytest.mark.parametrize("way", ["drop", "choose"])
def test_a_file_is_scored_as_it_is_until_somebody_edits_it(visit: Visit, way: str) -> None:
    text = "the king\r\nand his fool\r\n" + TEXT
    visit.open()
    if way == "drop":
        visit.drop("play.txt", b"\xef\xbb\xbf" + text.encode())
    else:
        with visit.page.expect_file_chooser() as chosen:
            visit["label[for=file]"].click()
        content = {"name": "play.txt", "mimeType": "text/plain", "buffer": text.encode()}
        chosen.value.set_files(content)
    expect(visit["#hint"]).to_have_text(f"play.txt: {len(text)} characters")
    visit["#go"].click()
    expect(visit["#result"]).to_be_visible()
    assert visit.service.asked[0]["texts"] == [text] and visit.heat() == text
    visit["#text"].press("End")
    visit.page.keyboard.type("a hall ")
    expect(visit["#hint"]).not_to_contain_text("play.txt")
    expect(visit["#stale"]).to_be_visible()
    visit["#text"].press("Control+Enter")
    expect(visit["#stale"]).to_be_hidden()
    (sent,) = visit.service.asked[1]["texts"]
    assert "\r" not in sent and "a hall " in sent


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("latin.txt", "the fool\xe9".encode("latin-1"), "latin.txt: is not UTF-8 text."),
        ("empty.txt", b" \n", "empty.txt: The file is empty."),
        ("long.txt", b"a" * 20_001, "long.txt: The text has 20,001 characters"),
        ("huge.txt", b"a" * 50_001, "huge.txt: has 50,001 bytes"),
    ],
)
def test_a_file_that_cannot_be_scored_is_refused_with_its_reason(
    visit: Visit, name: str, content: bytes, words: str
) -> None:
    visit.open()
    visit["#text"].fill("the king")
    visit.drop(name, content)
    expect(visit["#refused"]).to_contain_text(words)
    expect(visit["#text"]).to_have_value("the king")
    assert visit.service.asked == []


def test_a_text_beyond_the_limits_is_not_sent_and_an_empty_one_asked_for(visit: Visit) -> None:
    visit.open()
    expect(visit["#go"]).to_be_disabled()
    expect(visit["#hint"]).to_have_text("Paste a text, or choose a UTF-8 text file.")
    visit["#text"].fill("\U0001f642" * LIMITS["max_text_characters"])
    expect(visit["#hint"]).to_contain_text("bytes as it is sent; the service takes 50,000 at most")
    visit["#text"].fill("a" * (LIMITS["max_text_characters"] + 1))
    expect(visit["#hint"]).to_contain_text("20,001 characters; the service takes 20,000 at most")
    expect(visit["#go"]).to_be_disabled()
    visit["#text"].press("Control+Enter")
    visit["#text"].fill("a" * LIMITS["max_text_characters"])
    expect(visit["#go"]).to_be_enabled()
    assert visit.service.asked == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (problem(503, "The scorer is busy", "8 requests wait", Retry_After="7"), "wait 7 seconds"),
        (problem(429, "Too many requests", "60 a minute", Retry_After="1"), "to wait 1 second "),
        (problem(413, "Too long", "9 texts, of at most 8."), "9 texts, of at most 8."),
        (problem(422, "Not understood", "texts: is no list"), "Texts: is no list."),
        (problem(504, "Too slow", "after 30 s"), "After 30 s."),
    ],
    ids=lambda each: str(each.status) if hasattr(each, "status") else "",
)
def test_what_goes_wrong_is_said_in_words_and_can_be_tried_again(
    visit: Visit, answer: Any, words: str
) -> None:
    visit.open().score(TEXT)
    visit.service.answer = answer
    visit["#go"].click()
    expect(visit["#problem"]).to_be_visible()
    expect(visit["#problem-title"]).to_have_text(f"{answer.content['title']}.")
    expect(visit["#problem-detail"]).to_contain_text(words)
    expect(visit["#result"]).to_be_hidden()
    visit.service.answer = None
    visit["#again"].click()
    expect(visit["#result"]).to_be_visible()
    expect(visit["#problem"]).to_be_hidden()


def test_a_service_that_is_gone_is_said_to_be_gone(visit: Visit) -> None:
    visit.open()
    visit["#text"].fill(TEXT)
    visit.page.context.set_offline(True)
    visit["#go"].click()
    expect(visit["#problem-title"]).to_have_text("The service cannot be reached.")
    visit.page.context.set_offline(False)
    visit["#again"].click()
    expect(visit["#result"]).to_be_visible()


def test_a_key_is_asked_for_used_and_kept_nowhere(visit: Visit) -> None:
    visit.service.key = "open sesame"
    visit.page.goto(visit.service.url)
    expect(visit["#problem-title"]).to_have_text("This service asks for an API key.")
    expect(visit["#problem"]).to_contain_class("asks")  # nothing has gone wrong yet
    visit["#key"].fill("wrong")
    visit["#key"].press("Enter")
    expect(visit["#problem-title"]).to_have_text("An API key is needed.")
    expect(visit["#problem"]).not_to_contain_class("asks")
    visit["#key"].fill("open sesame")
    visit["#key"].press("Enter")
    expect(visit["#problem"]).to_be_hidden()
    expect(visit["#model"]).to_contain_text("Scorer runs/scorer")
    visit.score(TEXT)
    kept = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    assert json.loads(visit.page.evaluate(kept)) == [{}, {}, ""]


def test_an_abstention_comes_first_and_its_number_is_grey(
    visit: Visit, calibrated: PageService
) -> None:
    visit.open().score("the")
    expect(visit["#reason"]).to_have_text("Too short: 3 tokens, of fewer than 4 nothing is known.")
    expect(visit["#meaning"]).to_contain_text("Do not use it.")
    expect(visit["#number"]).to_have_css("color", "rgb(90, 93, 99)")
    expect(visit["#verdict"]).to_have_text("No verdict: the scorer abstains.")
    expect(visit["#status"]).to_contain_text("The scorer abstains. Too short")


def test_where_there_is_no_number_none_is_shown(visit: Visit, calibrated: PageService) -> None:
    visit.open().score("\u05e9" * 40)
    expect(visit["#reason"]).to_contain_text("Mostly unknown tokens: 100%")
    expect(visit["#meaning"]).to_have_text("There is no number.")
    expect(visit["#number"]).to_be_hidden()
    expect(visit["#bar"]).to_be_hidden()
    expect(visit["#sentence-card"]).to_be_hidden()
    expect(visit["#words span"]).to_have_count(0)
    expect(visit["#verdict"]).to_have_text("No verdict: the scorer abstains.")
    visit.score(TEXT)
    expect(visit["#abstained"]).to_be_hidden()
    expect(visit["#number"]).to_be_visible()


def test_a_scorer_without_token_head_shows_the_text_and_says_why_it_is_plain(visit: Visit) -> None:
    visit.service.change = lambda score: dataclasses.replace(score, token_logits=None)
    visit.open().score(TEXT)
    expect(visit["#no-tokens"]).to_be_visible()
    expect(visit["#legend"]).to_be_hidden()
    expect(visit["#sentence-card"]).to_be_hidden()
    expect(visit["#number"]).to_be_visible()
    assert visit.pieces() == [(TEXT, 0)]
    assert visit["#heat"].evaluate("node => node.tabIndex") == -1
    visit["#words"].hover()
    expect(visit["#tip"]).to_be_hidden()


def test_pieces_of_words_may_leave_gaps_and_share_characters(visit: Visit) -> None:
    pieces = [
        (0, 3, 0.72),
        (4, 8, 0.76),
        (8, 8, 0.9),
        (8, 9, 0.31),
        (8, 9, 0.95),
        (12, 14, 0.0),
        (15, 18, 0.85),
    ]

    def cut(result: dict[str, Any]) -> dict[str, Any]:
        tokens = [{"text": "", "start": s, "end": e, "probability": p} for s, e, p in pieces]
        return result | {"tokens": tokens, "spans": [], "sentences": tokens[:1]}

    visit.service.alter = cut
    text = "\U0001f642he king and his fool"
    visit.open().score(text)
    assert visit.heat() == text
    assert visit.pieces() == [
        ("\U0001f642he king", 7),
        (" ", 3),
        ("and hi", 0),
        ("s f", 8),
        ("ool", 0),
    ]
    visit["#threshold"].focus()
    visit.page.keyboard.press("Tab")
    for _, _, probability in pieces:
        expect(visit["#tip b"]).to_have_text(f"{probability:.3f}")
        visit.page.keyboard.press("ArrowRight")


def test_a_new_text_ends_the_scoring_of_the_last_and_waiting_can_be_stopped(visit: Visit) -> None:
    visit.open()
    visit.service.open.clear()
    visit["#text"].fill(TEXT)
    with visit.page.expect_event("requestfailed") as ended:
        visit["#go"].click()
        expect(visit["#busy"]).to_be_visible()
        visit["#text"].fill(SENTENCE)
        visit["#text"].press("Control+Enter")
    assert ended.value.failure == "net::ERR_ABORTED"
    visit.service.open.set()
    expect(visit["#busy"]).to_be_hidden()
    assert visit.heat() == SENTENCE
    visit.service.open.clear()
    with visit.page.expect_event("requestfailed"):
        visit["#go"].click()
        visit["#stop"].click()
    expect(visit["#busy"]).to_be_hidden()
    expect(visit["#problem"]).to_be_hidden()
    expect(visit["#text"]).to_be_focused()


def test_other_weights_behind_the_service_bring_their_own_calibration(visit: Visit) -> None:
    visit.open()
    visit.service.weights = "f" * 32
    visit.service.human, visit.service.thresholds = HUMAN, {"0.1": 0.6}
    visit.score(TEXT)
    expect(visit["#model"]).to_contain_text("weights ffffffffffff, calibrated on 9 human")
    expect(visit["#rate"]).to_contain_text("False alarms: about 10 % of human texts.")


def paper(visit: Visit) -> str:
    return str(visit["body"].evaluate("node => getComputedStyle(node).backgroundColor"))


def test_light_and_dark_follow_the_system_until_somebody_chooses(visit: Visit) -> None:
    light, dark = "rgb(253, 252, 250)", "rgb(23, 24, 27)"
    visit.open()
    assert paper(visit) == light
    visit.page.emulate_media(color_scheme="dark")
    assert paper(visit) == dark
    expect(visit["#theme"]).to_have_attribute("aria-pressed", "true")
    visit["#theme"].click()
    assert paper(visit) == light
    visit.open()
    assert paper(visit) == light
    expect(visit["#theme"]).to_have_attribute("aria-pressed", "false")


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_no_width_scrolls_sideways(visit: Visit, calibrated: PageService, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 800})
    visit.open().score("fool" * 90 + TEXT)
    visit["#heat"].focus()
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_text_of_two_thousand_words_is_shown_whole(visit: Visit, scorer: Scorer) -> None:
    text = SENTENCE * 155
    assert len(text.split()) > 2000
    visit.open().score(text)
    assert visit.heat() == text
    visit["#threshold"].focus()
    visit.page.keyboard.press("Tab")
    visit.page.keyboard.press("End")
    expect(visit["#tip b"]).to_have_text(f"{scorer.score(text).probabilities[-1]:.3f}")
    expect(visit["#token-mark i"]).to_be_in_viewport()


@pytest.mark.parametrize("name", ["script", "style"])
def test_no_script_and_no_style_acts_but_the_page_s_own(visit: Visit, name: str) -> None:
    visit.open()
    content = {"script": "document.title = 'taken'", "style": "body { visibility: hidden }"}[name]
    visit.page.evaluate(
        "([name, textContent]) => document.body.append(make(name, { textContent }))",
        [name, content],
    )
    assert visit.page.title() == "Synthenticity"
    expect(visit["body"]).to_have_css("visibility", "visible")
    (complaint,) = visit.complaints
    assert "Content Security Policy" in complaint


def test_the_page_is_one_file_that_puts_no_text_in_as_markup() -> None:
    from importlib.resources import files

    page = files("synthenticity.serve").joinpath("page.html").read_text(encoding="utf-8")
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        " src=",
        "@import",
        "style=",
        "cssText",
        '"style"',
    ):
        assert word not in page
    assert page.count("http") == page.count("http://www.w3.org/2000/svg")


def test_the_page_of_the_service_itself_scores_a_text(
    browser: Any, scorer: Scorer, scorer_path: Path
) -> None:
    """All others talk to a stand-in, which can be told what to answer."""
    with served(load=lambda: load_served_model(scorer_path, device="cpu")) as running:
        page = browser.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(running.url)
        page.locator("#text").fill(TEXT)
        page.locator("#go").click()
        expect(page.locator("#result")).to_be_visible()
        shown = page.locator("#words").evaluate("node => node.textContent")
        assert shown == TEXT and complaints == []
        expect(page.locator("#result")).to_contain_text(f"{scorer.score(TEXT).synthenticity:.3f}")
        page.close()
