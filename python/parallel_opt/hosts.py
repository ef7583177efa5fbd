"""One cluster of all hosts of a job, by one command under torchrun.

``torchrun --nnodes 4 ... -m parallel_opt.hosts -o cluster.json`` looks at every host once and
writes what ``parallel-opt hardware --merge`` would make of them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.distributed as dist

from parallel_opt import _core


def gather() -> _core.Cluster | None:
    """Every host's cluster, with its cached probes, merged on rank 0; None on other ranks.

    Needs an initialised process group. One rank of each host (``LOCAL_RANK`` 0) looks.

    Raises:
        InputError: Two groups of ranks call the same machine their host.
    """
    own = None
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        own = _core.load_cluster("local").to_json()
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, own)
    if dist.get_rank() != 0:
        return None
    texts = [(f"rank {rank}", text) for rank, text in enumerate(found) if text is not None]
    return _core.merge_hosts(
        [_core.Cluster.from_json(text, name) for name, text in texts], [name for name, _ in texts]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m parallel_opt.hosts", description=__doc__)
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="write it there")
    options = parser.parse_args(arguments)
    if options.output and not Path(options.output).absolute().parent.is_dir():
        parser.error(f"-o {options.output}: there is no such directory")
    if "RANK" not in os.environ:
        parser.error("start it with torchrun, one process of each host or more")
    dist.init_process_group("gloo")
    try:
        cluster = gather()
    finally:
        dist.destroy_process_group()
    if cluster is None:
        return 0
    if options.output:
        Path(options.output).write_text(cluster.to_json(), encoding="utf-8")
    else:
        print(cluster.to_json(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
