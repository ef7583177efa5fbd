"""Alignment of runs: what is common, what differs, what repeats."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import combinations

from parallel_opt import capture_align
from parallel_opt.capture_align import Differs, Repeats, Same, align, alternatives


@dataclass(frozen=True)
class Letter:
    """Upper and lower case are one step at two sizes."""

    text: str

    @property
    def key(self):
        return self.text

    @property
    def kind(self):
        return self.text.lower()

    @property
    def content(self):
        return self.text


def letters(*texts):
    return {run: [Letter(c) for c in text] for run, text in enumerate(texts)}


def shown(segments):
    """One text per segment: a, {b|c}, (de: 2, 3)."""
    result = []
    for segment in segments:
        if isinstance(segment, Same):
            result.append(segment.elements[0].text)
        elif isinstance(segment, Differs):
            ways = ["".join(e.text for e in way) for way in segment.elements.values()]
            result.append("{" + "|".join(ways) + "}")
        else:
            assert isinstance(segment, Repeats)
            unit = next(i for i in segment.iterations.values() if i)[0]
            trips = ", ".join(str(len(i)) for i in segment.iterations.values())
            result.append("(" + "".join(e.text for e in unit) + ": " + trips + ")")
    return " ".join(result)


def common(a, b):
    return "".join(a[i] for i, _ in capture_align.common_subsequence(a, b))


def longest_by_trial(a, b):
    for size in range(min(len(a), len(b)), -1, -1):
        subsequences = {tuple(c) for c in combinations(a, size)}
        if subsequences & {tuple(c) for c in combinations(b, size)}:
            return size
    return 0


def test_common_subsequence_is_longest_and_in_order():
    generator = random.Random(20261125)
    for _ in range(200):
        a = [generator.choice("abc") for _ in range(generator.randrange(8))]
        b = [generator.choice("abc") for _ in range(generator.randrange(8))]
        pairs = capture_align.common_subsequence(a, b)
        assert all(a[i] == b[j] for i, j in pairs), (a, b)
        assert pairs == sorted(set(pairs)), (a, b)
        assert len({j for _, j in pairs}) == len(pairs), (a, b)
        assert len(pairs) == longest_by_trial(a, b), (a, b)


def test_long_sequences_are_aligned_without_a_table(monkeypatch):
    monkeypatch.setattr(capture_align, "_DEAREST_TABLE", 3)
    assert common("xabcdy", "zabcdw") == "abcd"


def test_equal_runs_have_every_step_in_common():
    assert shown(align(letters("abc", "abc", "abc"))) == "a b c"


def test_runs_differ_between_what_they_share():
    assert shown(align(letters("abd", "acd"))) == "a {b|c} d"
    assert shown(align(letters("abd", "ad", "acd"))) == "a {b||c} d"


def test_step_that_one_run_leaves_out_is_no_loop():
    assert shown(align(letters("abc", "ac"))) == "a {b|} c"


def test_end_and_beginning_may_differ():
    assert shown(align(letters("xbc", "ybd"))) == "{x|y} b {c|d}"


def test_runs_without_anything_in_common():
    assert shown(align(letters("ab", "cd"))) == "{ab|cd}"


def test_varying_trip_count_is_one_loop():
    # three iterations against five: the three that both have belong to it
    assert shown(align(letters("abcbcbcd", "abcbcbcbcbcd"))) == "a (bc: 3, 5) d"


def test_loop_that_one_run_does_not_enter():
    assert shown(align(letters("ad", "abbd"))) == "a (b: 0, 2) d"


def test_loop_whose_sizes_grow_is_a_loop():
    # the third iteration is at another size, as with a growing cache
    assert shown(align(letters("ab", "abBB"))) == "a (b: 1, 3)"


def test_loop_that_ends_with_what_it_begins_with():
    # a while loop: its condition runs once more than its body
    assert shown(align(letters("cbcbcx", "cbcbcbcbcx"))) == "c (bc: 2, 4) x"


def test_once_more_is_a_loop_and_once_at_all_is_a_branch():
    assert shown(align(letters("abx", "abbx"))) == "a (b: 1, 2) x"
    assert shown(align(letters("ax", "abx"))) == "a {|b} x"


def test_alternatives_are_counted_most_frequent_first():
    gap = letters("b", "c", "c", "", "c")
    assert alternatives(gap) == [[1, 2, 4], [0], [3]]
