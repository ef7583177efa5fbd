"""Question: does the collective probe find the bandwidth of a link between two hosts?

Two network namespaces joined by a veth pair whose ends are shaped with tc stand in for two hosts;
one rank runs in each. Needs root, ip and tc. Prints the found rate over the shaped one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ADDRESSES = {"poA": "10.77.0.1", "poB": "10.77.0.2"}
LINKS = {"poA": "po0", "poB": "po1"}
PORT = "29577"


def run(command: str) -> None:
    subprocess.run(command.split(), check=True, capture_output=True)


def set_up(megabits: int) -> None:
    for space in ADDRESSES:
        run(f"ip netns add {space}")
    run("ip link add po0 type veth peer name po1")
    for space, address in ADDRESSES.items():
        link = LINKS[space]
        run(f"ip link set {link} netns {space}")
        run(f"ip -n {space} addr add {address}/24 dev {link}")
        run(f"ip -n {space} link set lo up")
        run(f"ip -n {space} link set {link} up")
        shape = f"tbf rate {megabits}mbit burst 64kb latency 50ms"
        run(f"ip netns exec {space} tc qdisc add dev {link} root {shape}")


def tear_down() -> None:
    for space in ADDRESSES:
        subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)


def probe(output: Path) -> None:
    ranks = []
    for rank, space in enumerate(ADDRESSES):
        environment = os.environ | {
            "RANK": str(rank),
            "WORLD_SIZE": "2",
            "LOCAL_RANK": "0",
            "LOCAL_WORLD_SIZE": "1",
            "GROUP_RANK": str(rank),
            "MASTER_ADDR": ADDRESSES["poA"],
            "MASTER_PORT": PORT,
            "GLOO_SOCKET_IFNAME": LINKS[space],
        }
        command = ["ip", "netns", "exec", space, sys.executable, "-m"]
        command += ["parallel_opt.probe_collectives", "--quick", "-o", str(output)]
        ranks.append(subprocess.Popen(command, env=environment))
    if any(rank.wait(timeout=300) for rank in ranks):
        raise SystemExit("a rank failed")


def rate_of(output: Path) -> tuple[str, float]:
    """The device's name and bytes/s of large messages between the two."""
    profile = json.loads(output.read_text())
    transfer = next(t for t in profile["transfers"] if t["collective"] == "p2p")
    assert transfer["scope"] == "cluster", transfer
    from parallel_opt import _core

    fit = _core.fit_transfer([(p["bytes"], p["seconds"]) for p in transfer["points"]])
    return transfer["device"], fit[1].value


def main() -> int:
    worst = 0.0
    for megabits in (100, 400, 1000):
        tear_down()
        try:
            set_up(megabits)
            with tempfile.TemporaryDirectory() as directory:
                output = Path(directory) / "profile.json"
                probe(output)
                _, found = rate_of(output)
        finally:
            tear_down()
        ratio = found * 8 / (megabits * 1e6)
        worst = max(worst, abs(ratio - 1))
        print(f"{megabits:5d} Mbit/s shaped, {found * 8 / 1e6:7.1f} found: {ratio:.3f}")
    print(f"largest deviation {worst:.1%}, budget 10 %")
    return 0 if worst <= 0.1 else 1


if __name__ == "__main__":
    sys.exit(main())
