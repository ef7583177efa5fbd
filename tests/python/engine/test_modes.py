"""What the loop switches on a model between steps takes effect on several ranks as on one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from small import ENGINES
from torch import nn

from harness import RankPool
from parallel_opt.engine.data_parallel import DataParallel
from parallel_opt.engine.layout_book import LayoutBook
from parallel_opt.engine.micro_batch import MicroBatchForward
from parallel_opt.engine.modes import Modes, Words
from parallel_opt.engine.process_group import Group
from parallel_opt.engine.structure import flatten


class Switched(nn.Module):
    """Batch norm, dropout, and what arguments and attributes turn on."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(4, 6), nn.BatchNorm1d(6)
        self.drop, self.last = nn.Dropout(0.0), nn.Linear(6, 3)
        self.centred = False

    def forward(self, x: torch.Tensor, mode: str = "", noise: float = 0.0) -> torch.Tensor:
        hidden = self.drop(self.norm(self.first(x)).tanh())
        if mode == "centred" or self.centred:
            hidden = hidden - hidden.mean(0)
        if noise:
            hidden = hidden + noise * torch.randn_like(hidden)
        result: torch.Tensor = self.last(hidden)
        return result


Switch = Callable[[Switched, bool], dict[str, Any]]


def attribute(path: str, off: Any, on: Any) -> Switch:
    def switch(module: Switched, second: bool) -> dict[str, Any]:
        *way, name = path.split(".")
        part: Any = module.get_submodule(".".join(way))
        setattr(part, name, on if second else off)
        return {}

    return switch


def argument(name: str, off: Any, on: Any) -> Switch:
    return lambda module, second: {name: on if second else off}


def statistics(module: Switched, second: bool) -> dict[str, Any]:
    module.norm.train(second)
    return {}


def replaced(module: Switched, second: bool) -> dict[str, Any]:
    if second and isinstance(module.last, nn.Linear):
        module.last = nn.Sequential(nn.BatchNorm1d(6), module.last).double()  # type: ignore[assignment]
    return {}


SWITCHES: dict[str, Switch] = {
    "batch norm begins to train": statistics,
    "dropout begins": attribute("drop.p", 0.0, 0.5),
    "samples begin to meet": attribute("centred", False, True),
    "another word": argument("mode", "plain", "centred"),
    "noise begins": argument("noise", 0.0, 0.3),
    "a part is replaced": replaced,
}


def steps_of(module: Switched, forward: Any, switch: str, order: str) -> list[torch.Tensor]:
    """Outputs and gradients of one step per letter: a the first mode, b the second."""
    torch.manual_seed(1)
    found: list[torch.Tensor] = []
    for letter in order:
        more = SWITCHES[switch](module, letter == "b")
        module.zero_grad()
        output = forward(torch.randn(7, 4, dtype=torch.float64), **more)
        output.square().mean().backward()
        if isinstance(forward, DataParallel):
            forward.synchronize()
        found += [
            output.detach(),
            *(p.grad.clone() for p in module.parameters() if p.grad is not None),
        ]
    return [*found, *module.buffers()]


def model() -> Switched:
    torch.manual_seed(0)
    return Switched().double()


def same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-11)


def switching(group: Group, switch: str, engine: str) -> None:
    order = "aaabbb" if switch == "a part is replaced" else "aaabbabb"
    plain, shared = model(), model()
    expected = steps_of(plain, plain, switch, order)
    parallel = DataParallel(shared, group, engine=engine)
    parallel.apply()
    same(steps_of(shared, parallel, switch, order), expected)
    parallel.unapply()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("switch", SWITCHES)
def test_a_switch_takes_effect_as_on_one_process(ranks: RankPool, switch: str, engine: str) -> None:
    ranks.run(switching, 2, switch, engine)


def test_micro_batches_stop_when_samples_begin_to_meet() -> None:
    plain, parts = model(), model()
    plain.norm = nn.Identity()  # type: ignore[assignment]
    parts.norm = nn.Identity()  # type: ignore[assignment]
    notes: list[str] = []
    forward = MicroBatchForward(parts, parts, 2, notes.append)
    expected = steps_of(plain, plain, "samples begin to meet", "aabb")
    same(steps_of(parts, forward, "samples begin to meet", "aabb"), expected)
    assert notes == ["micro-batches: off: output 0 is not made of per-sample rows, sums or means"]


def keys(module: nn.Module, *changes: Callable[[], Any]) -> list[Any]:
    """The mode at the first forward and after each change."""
    modes, found = Modes(module), []
    for change in (lambda: None, *changes):
        change()
        with modes.forward(notice=True):
            found.append(modes.key)
    return found


def test_a_mode_that_comes_back_is_the_same_mode() -> None:
    module = model()
    first, second, third = keys(module, module.norm.eval, module.norm.train)
    assert first == third == ()
    assert second != ()


def test_what_a_forward_writes_makes_no_mode() -> None:
    """Ranks with other samples may leave other numbers."""
    module = model()
    modes = Modes(module)
    for count in range(5):
        with modes.forward(notice=True):
            assert modes.key == ()
            module.seen = count


def test_a_forward_that_is_not_planned_hides_no_switch() -> None:
    module = model()
    modes = Modes(module)
    with modes.forward(notice=True):
        pass
    module.centred = True
    with modes.forward(notice=False):  # an evaluation in between
        module.seen = 1
    with modes.forward(notice=True):
        assert modes.key != ()


def test_a_schedule_makes_few_modes() -> None:
    """0, 0.1, 0.2 count as they are; from the third other value on, only whether it is 0 does."""
    module = model()

    def to(value: float) -> Callable[[], Any]:
        return lambda: setattr(module.drop, "p", value)

    found = keys(module, *(to(p / 10) for p in (1, 2, 3, 4, 5)), to(0.0))
    assert found[0] == found[6] == ()
    assert len({found[1], found[2], found[3]}) == 3
    assert found[3] == found[4] == found[5]


def test_words_and_switches_tell_calls_apart_and_names_of_samples_do_not() -> None:
    words = Words()
    assert words.key("f", ["train", 1]) == words.key("f", ["train", 2])
    assert words.key("f", ["train", 0]) != words.key("f", ["train", 2])
    assert words.key("f", [True]) != words.key("f", [1])
    assert [words.key("names", [f"sample {i}"]) for i in range(12)][8:] == [()] * 4


def test_a_switch_under_which_ranks_would_part_is_met() -> None:
    module = model()
    met: list[str] = []
    asked: list[Any] = []

    def agree(own: Any) -> Any:
        asked.append(own)
        return own

    book = LayoutBook(module, module, lambda note: None, agree=agree, meet=met.append)
    inputs, structure = flatten(((torch.randn(7, 4, dtype=torch.float64),), {}))

    def use(**attributes: Any) -> int:
        vars(module).update(attributes)
        with book.modes.forward(notice=True):
            book.layout(inputs, structure, sliced=True)
        return len(asked)

    # looked for together, then looked at together at uses 1, 2, 4, 8 ... by a rank that does not
    # see the others' labels too
    assert [use(), use(), use()] == [1, 2, 3]
    assert [use(label="good"), use(label="best")] == [3, 4] and met == []
    assert use(centred=True) == 4  # each rank looks alone, and waits for those that need not
    assert met == [f"{structure.signature}/5"]
    assert [use(), use(), use()] == [4, 4, 4]  # whole from here on
