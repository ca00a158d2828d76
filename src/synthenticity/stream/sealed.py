"""Small JSON files with a checksum: what is read is what was written, or an error.

One flipped bit turns a 2 into a 3, and in the number of an acknowledgement that is another stream.
A file without the checksum is taken at its word, so that a person can write one by hand.
"""

import json
from collections.abc import Mapping
from typing import Any

from synthenticity.seeding import digest

SEAL = "checksum"


def seal(content: Mapping[str, Any]) -> str:
    """Return a JSON object with its checksum."""
    return json.dumps({**content, SEAL: _checksum(content)})


def unseal(text: str) -> dict[str, Any]:
    """Read what `seal` wrote.

    Raises:
        ValueError: it is no JSON object, or not the one that was written.

    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    said = content.pop(SEAL, None)
    if said is not None and said != _checksum(content):
        raise ValueError("its checksum does not fit")
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    return digest(json.dumps(content, sort_keys=True))
