"""Who may ask: a key, a name, an origin; and a server that is open by mistake does not start."""

import socket
from pathlib import Path

import pytest
from serving import SCORE, GatedScorer, problem_of, ready, served

from synthenticity import cli
from synthenticity.errors import ConfigError
from synthenticity.serve.application import Access
from synthenticity.serve.key import KEY_VARIABLE, key_of
from synthenticity.serve.model import ServedModel

KEY = "correct-horse+battery/staple="


def opened() -> GatedScorer:
    scorer = GatedScorer()
    scorer.gate.set()
    return scorer


def test_a_key_is_asked_for_under_v1_and_nowhere_else() -> None:
    with served(opened(), access=Access(key=KEY)) as it:
        ready(it.service)
        for wrong in ("", KEY, f"Basic {KEY}", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", "Bearer é"):
            headers = {"Authorization": wrong.encode("latin-1")} if wrong else {}
            for answer in (
                it.client.post(SCORE, json={"texts": ["x"]}, headers=headers),
                it.client.get("/v1/model", headers=headers),
                it.client.get("/v1/other", headers=headers),
            ):
                assert answer.status_code == 401
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert KEY_VARIABLE in str(problem_of(answer)["detail"])
                assert KEY not in answer.text
        for scheme in ("Bearer", "bearer"):
            headers = {"Authorization": f"{scheme} {KEY}"}
            answer = it.client.post(SCORE, json={"texts": ["x"]}, headers=headers)
            assert answer.status_code == 200
        for path in ("/", "/healthz", "/readyz", "/metrics", "/openapi.json"):
            assert it.client.get(path).status_code == 200


def test_a_key_that_no_header_can_bear_is_refused_and_not_repeated() -> None:
    assert key_of({}) is key_of({KEY_VARIABLE: ""}) is None
    assert key_of({KEY_VARIABLE: KEY}) == KEY
    for bad in ("two words", "line\n", "schlüssel"):
        with pytest.raises(ConfigError) as raised:
            key_of({KEY_VARIABLE: bad})
        assert bad not in str(raised.value)


def test_a_page_of_another_name_cannot_ask_through_a_browser() -> None:
    """DNS rebinding: its name leads to this machine, but stands in the Host header."""
    with served(opened(), access=Access(hosts=["localhost", "127.0.0.1", "[::1]"])) as it:
        ready(it.service)
        for host in ("evil.example", f"evil.example:{it.port}", "localhost.evil.example", "a b"):
            answer = it.client.get("/v1/model", headers={"Host": host})
            assert answer.status_code == 400
            assert "--allow-host" in str(problem_of(answer)["detail"])
        for host in ("localhost", f"127.0.0.1:{it.port}", f"[::1]:{it.port}", "LOCALHOST:1"):
            assert it.client.get("/v1/model", headers={"Host": host}).status_code == 200


def test_no_origin_may_ask_unless_it_is_named() -> None:
    preflight = {"Access-Control-Request-Method": "POST"}
    mine, other = {"Origin": "https://mine.example"}, {"Origin": "https://other.example"}
    with served(opened()) as it:
        ready(it.service)
        answer = it.client.get("/healthz", headers=mine)
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert it.client.options(SCORE, headers=mine | preflight).status_code == 405
    with served(opened(), access=Access(key=KEY, origins=["https://mine.example"])) as it:
        ready(it.service)
        answer = it.client.options(SCORE, headers=mine | preflight)
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "https://mine.example"
        assert it.client.options(SCORE, headers=other | preflight).status_code == 400
        refused = it.client.post(SCORE, json={}, headers=mine)
        assert refused.status_code == 401  # whose reason the page may read
        assert refused.headers["Access-Control-Allow-Origin"] == "https://mine.example"
        answer = it.client.get("/healthz", headers=other)
        assert "Access-Control-Allow-Origin" not in answer.headers


def complaint(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """Return the one line with which the command refuses to serve."""
    assert cli.run(["serve", "no-such-run", *options]) == cli.USER_ERROR
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1
    return err


def test_a_server_that_cannot_be_as_asked_for_says_so_in_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert "--allow-open" in complaint(capsys, "--host", "0.0.0.0", "--port", "0")
    assert "no address of this machine" in complaint(capsys, "--host", "no.such.host.invalid")
    assert "--port: 70000 is none of" in complaint(capsys, "--port", "70000")
    assert "--max-texts: 0 is not positive" in complaint(capsys, "--max-texts", "0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"--port: {port} of 127.0.0.1 cannot be used" in complaint(capsys, "--port", port)
    assert "is no name of a host" in complaint(capsys, "--allow-host", "a*b", "--port", "0")
    assert "is no origin" in complaint(capsys, "--cors", "https://a.example/", "--port", "0")
    monkeypatch.setenv(KEY_VARIABLE, "no good")
    assert KEY_VARIABLE in complaint(capsys, "--port", "0")


def test_the_command_loads_the_scorer_as_it_is_told(
    scorer_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, object] = {}

    def load(run: Path, **how: object) -> ServedModel:
        told.update(how, run=run)
        raise ConfigError("was told enough")

    monkeypatch.setattr("synthenticity.serve.model.load_served_model", load)
    monkeypatch.setattr("synthenticity.cli.serving._log_as_json", lambda: None)
    options = ["--port", "0", "--device", "cpu", "--dtype", "bfloat16", "--min_tokens", "5"]
    assert cli.run(["serve", str(scorer_path), *options]) == cli.USER_ERROR
    how = {"device": "cpu", "dtype": "bfloat16", "min_tokens": 5}
    assert told == {"run": scorer_path, **how}
    assert "was told enough" in capsys.readouterr().err


def test_a_missing_extra_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sys

    for name in [name for name in sys.modules if name.startswith("synthenticity.serve.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert cli.run(["serve", str(tmp_path)]) == cli.USER_ERROR
    assert 'pip install "synthenticity[serve]"' in capsys.readouterr().err
