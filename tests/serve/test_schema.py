"""schemathesis finds no answer that /openapi.json does not describe, and no error beside the plan.

Texts may be short here, and all together fill a request: then a text that is one character too long
still fits into a body, whose 413 schemathesis does not count as a refusal of what is too long, and
no request that is right by the schema holds too many characters.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from serving import ready, served

from synthenticity.serve.application import Access
from synthenticity.serve.limits import Limits
from synthenticity.serve.model import load_served_model

LIMITS = Limits(max_texts=8, max_text_characters=500, max_characters=4000)
KEY = "key-of-the-test"


@pytest.mark.parametrize("key", [None, KEY])
def test_the_description_is_true(scorer_path: Path, tmp_path: Path, key: str | None) -> None:
    access = Access(key=key, hosts=["127.0.0.1"])
    with served(
        load=lambda: load_served_model(scorer_path, device="cpu"), limits=LIMITS, access=access
    ) as it:
        ready(it.service)
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{it.url}openapi.json"]
        options = [
            "--max-examples",
            "30",
            "--seed",
            "1",
            "--no-color",
            "--generation-database=none",
        ]
        given = ["-H", f"Authorization: Bearer {key}"] if key else []
        done = subprocess.run(
            [*command, *options, *given],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=120,
            check=False,
        )
        counts = it.client.get("/metrics").text
    assert done.returncode == 0, done.stdout[-3000:]
    assert "No issues found" in done.stdout
    for status in (200, 405, 422):
        assert f'status="{status}"' in counts
    assert 'status="500"' not in counts
