"""The Cluster, its probes' cache and the energy meter as Python sees them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parallel_opt import _core
from parallel_opt.errors import InputError, MachineError


def test_local_is_this_machine() -> None:
    cluster = _core.load_cluster("local")
    assert cluster.name == "local"
    assert cluster.devices[0].kind == "cpu"
    assert cluster.nodes[0].threads >= len(cluster.devices[0].cores) >= 1
    _core.check_cluster(cluster)
    assert len(_core.hardware_hash(cluster)) == 16


def test_presets_resolve_and_unknown_names_are_refused() -> None:
    cluster = _core.load_cluster("2n8xH100-SXM-80GB")
    assert [d.name for d in cluster.devices] == ["H100-SXM-80GB"] * 16
    with pytest.raises(InputError, match=r"did you mean H100-SXM-80GB\?"):
        _core.load_cluster("8xH100-SXM-80G")


def test_a_root_shows_another_machine(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor : 0\nmodel name : Tiny\n\n")
    (tmp_path / "proc/meminfo").write_text("MemTotal: 1024 kB\n")
    cluster = _core.discover(str(tmp_path))
    assert cluster.devices[0].name == "Tiny (1 core)"
    assert cluster.devices[0].memory_bytes.value == 1024 * 1024


def test_a_stored_probe_is_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLEL_OPT_CACHE", str(tmp_path))
    device = _core.discover().devices[0]
    curve = {"kernel": "matmul", "dtype": "fp32", "quality": "measured", "source": "probe"}
    document = {
        "schema": _core.ProbeSet.SCHEMA,
        "uuid": device.uuid,
        "device": device.name,
        "software": "torch 0",
        "date": _core.today(),
        "rates": [curve | {"points": [{"size": 1e6, "per_s": 12345.0}]}],
    }
    probes = _core.ProbeSet.from_json(json.dumps(document))
    assert _core.cached_probes(device) == (None, [])
    path = Path(_core.store_probes(probes))
    assert path.parent == tmp_path / "probes"
    assert _core.cached_probes(device, "torch 0") == (probes, [])
    assert _core.cached_probes(device, "torch 1") == (None, [])

    def rates(cluster: _core.Cluster) -> list[float]:
        found = [r for r in cluster.devices[0].rates if (r.kernel, r.dtype) == ("matmul", "fp32")]
        return [point.per_s for rate in found for point in rate.points]

    assert rates(_core.load_cluster("local")) == [12345.0]
    assert rates(_core.load_cluster("local", "torch 1")) != [12345.0]
    assert rates(_core.merge_probes(_core.discover(), probes)) == [12345.0]
    path.write_text("{")
    notes = _core.load_cluster("local").notes
    assert any("probe cache" in note and "not used" in note for note in notes)


def test_an_unwritable_cache_is_a_system_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLEL_OPT_CACHE", "/proc/nowhere")
    document = {"uuid": "u", "device": "d", "date": _core.today()}
    probes = _core.ProbeSet.from_json(json.dumps({"schema": _core.ProbeSet.SCHEMA} | document))
    with pytest.raises(MachineError):
        _core.store_probes(probes)


def test_the_energy_meter_says_how_it_knows() -> None:
    meter = _core.EnergyMeter()
    meter.begin()
    reading = meter.end()
    assert reading.window_s >= 0
    assert reading.quality in ("counter", "integrated_power", "modelled", "unavailable")
    assert (reading.energy_j is None) == (reading.quality == "unavailable")
    assert json.loads(reading.to_json())["schema"] == "parallel-opt/energy/1"
