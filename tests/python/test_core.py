"""The compiled core as Python sees it."""

import json

from parallel_opt._core import Job


def test_nested_structs_are_objects_and_come_back():
    plain = {"schema": Job.SCHEMA, "global_batch": 8}
    loading = {"sample_s": 0.01, "workers": 2}
    job = Job.from_json(json.dumps({**plain, "loading": loading}), "job")
    assert (job.loading.sample_s, job.loading.workers) == (0.01, 2)
    assert Job.from_json(job.to_json(), "again") == job
    assert Job.from_json(json.dumps(plain), "job").loading is None
