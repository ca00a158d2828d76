"""The provider's table: every point x every fault, here and in a worker, ends with the same files.

Some minutes, so `slow`; the quick tests of test_prepare_workers.py kill at the same points.
"""

import dataclasses
import sys
from pathlib import Path

import pytest
from faulty import FAULTS, BrokenError, Fault, run_with_fault
from points import OTHERS, points_in_source

from synthenticity import faults
from synthenticity.config import Config
from synthenticity.config_file import write_config
from synthenticity.providers.prepare import prepare
from synthenticity.stream.batch_queue import BatchQueue

POINTS = [
    name for name in points_in_source() if OTHERS.get(f"{name.split('.')[0]}.") == "the provider's"
]
IN_A_WORKER = ["worker.begun", "provider.made", "worker.made"]
HERE = ["provider.made", "provider.committed"]
FILES = 3

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reference(mlm_config: Config, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("reference")
    prepare(mlm_config, folder / "set", files=FILES)
    return contents(folder / "set")


def contents(directory: Path) -> dict[str, bytes]:
    files = sorted(directory.glob("*/*.parquet"))
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def test_each_point_of_the_provider_is_in_the_table() -> None:
    assert sorted({*IN_A_WORKER, *HERE}) == POINTS


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("point", HERE)
def test_a_fault_of_a_provider_leaves_the_files_as_they_would_have_been(
    point: str, fault: str, mlm_config: Config, reference: dict[str, bytes], tmp_path: Path
) -> None:
    data = tmp_path / "set"
    if fault.startswith("SIG"):
        write_config(mlm_config, tmp_path / "c.toml")
        command = ["prepare", str(tmp_path / "c.toml"), "--files", str(FILES)]
        command += ["--out-dir", str(data)]
        run_with_fault(command, tmp_path / "fired", point=point, fault=fault, nth=2)
    else:
        watcher = Fault(point, fault, nth=2)
        faults.watch(watcher)
        try:
            with pytest.raises((BrokenError, OSError)):
                prepare(mlm_config, data, files=FILES)
        finally:
            faults.watch(None)
        assert watcher.fired
    assert 0 < len(contents(data)) < len(reference)
    prepare(mlm_config, data, files=FILES)
    assert contents(data) == reference
    assert BatchQueue(data).temporaries() == []


STRUCK = """
import multiprocessing
from pathlib import Path
from faulty import FAULTS
from synthenticity import faults
from synthenticity.providers.char_diffusion import CharDiffusionProvider

class Struck(CharDiffusionProvider):
    '''Meets a fault in a worker, once, at a point of its second file.'''

    def made_with(self):
        if multiprocessing.parent_process() is not None:
            faults.watch(strike)
        return super().made_with()

passed = []
def strike(name):
    passed.append(name)
    place = Path(__file__).with_name("fired")
    if name == POINT and passed.count(name) == 2 and not place.exists():
        place.write_text("fired", encoding="utf-8")
        FAULTS[FAULT]()
"""


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("point", IN_A_WORKER)
def test_a_fault_of_a_worker_leaves_the_files_as_they_would_have_been(
    point: str,
    fault: str,
    mlm_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = tmp_path / "installed"
    (installed / "struck-1.dist-info").mkdir(parents=True)
    (installed / "struck-1.dist-info" / "entry_points.txt").write_text(
        "[synthenticity.providers]\nstruck = struck:Struck\n", encoding="utf-8"
    )
    code = STRUCK.replace("POINT", repr(point)).replace("FAULT]", f"{fault!r}]")
    (installed / "struck.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.delitem(sys.modules, "struck", raising=False)
    config = dataclasses.replace(mlm_config, dataset="struck")
    prepare(config, tmp_path / "here", files=FILES)
    assert not (installed / "fired").exists()
    data = tmp_path / "workers"
    if fault.startswith("SIG"):  # a dead worker's file is made by another; Ctrl-C is the owner's
        prepare(config, data, files=FILES, workers=2)
    else:
        with pytest.raises(BrokenError if fault == "exception" else OSError):
            prepare(config, data, files=FILES, workers=2)
    assert (installed / "fired").exists()
    prepare(config, data, files=FILES)
    assert contents(data) == contents(tmp_path / "here")
    assert len(contents(data)) == 2 * FILES
