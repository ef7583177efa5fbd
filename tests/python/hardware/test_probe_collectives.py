"""probe_collectives.py and hosts.py: what they measure, gather and write. No timings are judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch.distributed as dist

from parallel_opt import InputError, _core, hosts, probe_collectives
from parallel_opt.probe_collectives import COLLECTIVES, Measured, profile_of


def _line(latency_s: float, bytes_per_s: float) -> list[Measured]:
    return [Measured(n, latency_s + n / bytes_per_s, 0.02, 5) for n in (1024, 65536, 1 << 22)]


def test_a_fit_recovers_latency_and_rate() -> None:
    # 20 us + n / 1e9
    alpha, beta = _core.fit_transfer([(float(p.bytes), p.seconds) for p in _line(2e-5, 1e9)])
    assert alpha.value == pytest.approx(2e-5)
    assert beta.value == pytest.approx(1e9)
    with pytest.raises(InputError, match="points: are fewer than two"):
        _core.fit_transfer([(1.0, 1.0)])


def test_ranks_of_one_host_are_within_a_node() -> None:
    found = {"p2p": _line(2e-5, 1e9), "all_reduce": _line(4e-5, 5e8)}
    document = profile_of(found, "X", ["a", "a", "a", "a"], "gloo")
    profile = _core.ImportedProfile.from_json(json.dumps(document))
    assert [(t.scope, t.ranks) for t in profile.transfers] == [("node", 4), ("node", 4)]
    assert "p2p, 4 ranks: 20.0 us + bytes / 1.000 GB/s, residual 0.0%" in profile.notes[0]
    assert profile.source.endswith(", gloo")


def test_ranks_of_several_hosts_are_between_nodes() -> None:
    document = profile_of({"p2p": _line(2e-5, 1e9)}, "X", ["a", "a", "b", "b"], "gloo")
    profile = _core.ImportedProfile.from_json(json.dumps(document))
    assert (profile.transfers[0].scope, profile.transfers[0].ranks) == ("cluster", 2)


def test_two_processes_measure_every_collective(tmp_path: Path) -> None:
    output = tmp_path / "profile.json"
    words = ["--ranks", "2", "--quick", "--budget", "0.01", "-o", str(output)]
    assert probe_collectives.main(words) == 0
    profile = _core.ImportedProfile.from_json(output.read_text(), "probe")
    assert tuple(t.collective for t in profile.transfers) == COLLECTIVES
    for transfer in profile.transfers:
        assert transfer.device == _core.discover().devices[0].name
        assert [p.bytes for p in transfer.points] == list(probe_collectives.QUICK_SIZES)
    assert len(profile.notes) == len(COLLECTIVES)


def test_one_rank_is_no_collective(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        probe_collectives.main(["--ranks", "1"])
    assert "--ranks must be at least 2" in capsys.readouterr().err


def test_hosts_are_gathered_on_rank_0(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(probe_collectives._free_port()))
    output = tmp_path / "cluster.json"
    assert hosts.main(["-o", str(output)]) == 0
    assert not dist.is_initialized()
    cluster = _core.Cluster.from_json(output.read_text())
    _core.check_cluster(cluster)
    assert cluster.name == "local"
    assert [d.name for d in cluster.devices] == [d.name for d in _core.discover().devices]


def test_hosts_want_torchrun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(SystemExit):
        hosts.main([])
    assert "start it with torchrun" in capsys.readouterr().err


def test_one_host_twice_is_an_error() -> None:
    cluster = _core.discover()
    with pytest.raises(InputError, match=r"b\.json: is the same host as a\.json"):
        _core.merge_hosts([cluster, cluster], ["a.json", "b.json"])


def test_directories_that_are_missing_are_told_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for main in (probe_collectives.main, hosts.main):
        with pytest.raises(SystemExit) as stopped:
            main(["-o", "/no/such/directory/x.json"])
        assert stopped.value.code == 2
        told = capsys.readouterr().err
        assert "error: -o /no/such/directory/x.json: there is no such directory" in told
    with pytest.raises(SystemExit):
        probe_collectives.main(["--budget", "0"])
    assert "error: --budget must be positive" in capsys.readouterr().err
