"""Tasks: procedures that wait."""

from __future__ import annotations

from typing import Any

from engine.replication.tasks import PARK, All, Steps, Tasks


class Runner:
    def __init__(self) -> None:
        self.asked: dict[int, Any] = {}
        self.crashes: list[Exception] = []
        self.log: list[Any] = []
        self.tasks = Tasks(self.asked.__setitem__, self.crashes.append)

    def steps(self, *effects: Any) -> Steps:
        for effect in effects:
            try:
                self.log.append((yield effect))
            except KeyError as error:
                self.log.append(error)
        self.log.append("end")


def test_a_task_goes_on_with_the_outcome_of_its_effect() -> None:
    runner = Runner()
    runner.tasks.start(runner.steps("first", "second"))
    assert list(runner.asked.values()) == ["first"]
    runner.tasks.finish(1, "one")
    runner.tasks.fail(2, KeyError("two"))
    assert runner.log[0] == "one"
    assert isinstance(runner.log[1], KeyError)
    assert runner.log[2] == "end"


def test_an_outcome_for_a_cancelled_task_is_dropped() -> None:
    runner = Runner()
    task = runner.tasks.start(runner.steps("first"))
    task.cancel()
    runner.tasks.finish(1, "late")
    assert runner.log == []
    assert task.done


def test_a_parked_task_resumes_when_it_is_woken_and_not_before() -> None:
    runner = Runner()
    task = runner.tasks.start(runner.steps(PARK, "then"))
    assert runner.asked == {}
    task.wake()
    assert runner.asked == {1: "then"}


def test_a_task_that_is_woken_while_it_is_busy_does_not_park() -> None:
    runner = Runner()
    task = runner.tasks.start(runner.steps("busy", PARK))
    task.wake()
    runner.tasks.finish(1, None)
    assert runner.log == [None, None, "end"]


def test_a_fault_ends_its_task_and_no_other() -> None:
    runner = Runner()
    runner.tasks.start(runner.steps("doomed"))
    runner.tasks.start(runner.steps("fine"))
    fault = ValueError("fault")
    runner.tasks.fail(1, fault)
    runner.tasks.finish(2, "well")
    assert runner.crashes == [fault]
    assert runner.log == ["well", "end"]


def test_a_task_may_cancel_itself() -> None:
    runner = Runner()
    box: list[Any] = []

    def suicidal() -> Steps:
        yield "wait"
        box[0].cancel()
        yield "never"

    box.append(runner.tasks.start(suicidal()))
    runner.tasks.finish(1, None)
    assert runner.asked == {1: "wait"}
    assert runner.crashes == []


def test_several_procedures_side_by_side() -> None:
    runner = Runner()
    results: list[Any] = []

    def part(effect: str) -> Steps:
        return (yield effect)

    def whole() -> Steps:
        results.append((yield All([part("a"), part("b"), part("c")])))
        results.append((yield All([])))

    runner.tasks.start(whole())
    error = KeyError("b")
    tokens = {effect: token for token, effect in runner.asked.items()}
    runner.tasks.finish(tokens["c"], 3)
    runner.tasks.fail(tokens["b"], error)
    runner.tasks.finish(tokens["a"], 1)
    assert results == [[1, error, 3], []]
