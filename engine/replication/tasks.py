"""Tasks of the protocol core: generators that yield what they wait for, so that a procedure of many steps reads as one.

A task yields an *effect* and is resumed with its outcome (or has its error thrown in). PARK waits until somebody calls
`Task.wake`; every other effect is handed, with a token, to whoever runs the tasks, who later calls `finish` or `fail`.
Cancelling a task closes its generator; outcomes that arrive afterwards find nobody and are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

Steps = Generator[Any, Any, Any]
PARK = object()


@dataclass(frozen=True, slots=True)
class All:
    """Effect: several procedures side by side; its outcome is the list of what they return, errors as values."""

    parts: list[Steps]


class Task:
    """A running procedure. `done` once it has returned, failed or been cancelled."""

    __slots__ = ("_parked", "_running", "_steps", "_tasks", "_woken", "done", "token")

    def __init__(self, tasks: Tasks, steps: Steps) -> None:
        self._tasks = tasks
        self._steps = steps
        self._parked = False
        self._running = False
        self._woken = False
        self.done = False
        self.token = 0

    def wake(self) -> None:
        """Resume a parked task; one that is busy will not park the next time."""
        if self.done:
            return
        if not self._parked:
            self._woken = True
            return
        self._parked = False
        self._tasks.resume(self, None, None)

    def cancel(self) -> None:
        if self.done:
            return
        self.done = True
        self._tasks.forget(self.token)
        if not self._running:
            self._steps.close()

    def close(self) -> None:
        self._steps.close()

    def advance(self, value: Any, error: Exception | None) -> Any:
        """Run up to the next effect that cannot be had at once; PARK when the task now waits for `wake`."""
        self.token = 0
        self._running = True
        try:
            effect = self._steps.throw(error) if error is not None else self._steps.send(value)
            while effect is PARK and self._woken and not self.done:
                self._woken = False
                effect = self._steps.send(None)
        finally:
            self._running = False
        self._parked = effect is PARK
        return effect


class Tasks:
    """All tasks of one core.

    `request(token, effect)` starts whatever an effect stands for; `crashed(error)` hears of a task that ended in an
    error nobody caught."""

    def __init__(self, request: Callable[[int, Any], None], crashed: Callable[[Exception], None]) -> None:
        self._request = request
        self._crashed = crashed
        self._waiting: dict[int, Task] = {}
        self._last_token = 0

    def start(self, steps: Steps) -> Task:
        task = Task(self, steps)
        self.resume(task, None, None)
        return task

    def finish(self, token: int, value: Any) -> None:
        task = self._waiting.pop(token, None)
        if task is not None:
            self.resume(task, value, None)

    def fail(self, token: int, error: Exception) -> None:
        task = self._waiting.pop(token, None)
        if task is not None:
            self.resume(task, None, error)

    def forget(self, token: int) -> None:
        self._waiting.pop(token, None)

    def resume(self, task: Task, value: Any, error: Exception | None) -> None:
        try:
            effect = task.advance(value, error)
        except StopIteration:
            task.done = True
            return
        except Exception as failure:
            # A task that fails must not take the core with it: others go on, and the failure is reported.
            task.done = True
            self._crashed(failure)
            return
        if task.done:  # cancelled by something it did itself
            task.close()
        elif effect is not PARK:
            self._begin(task, effect)

    def _begin(self, task: Task, effect: Any) -> None:
        self._last_token += 1
        task.token = token = self._last_token
        self._waiting[token] = task
        if isinstance(effect, All):
            self._gather(token, effect)
        else:
            self._request(token, effect)

    def _gather(self, token: int, effect: All) -> None:
        outcomes: list[Any] = [None] * len(effect.parts)
        missing = len(outcomes)

        def one(place: int, part: Steps) -> Steps:
            nonlocal missing
            try:
                outcomes[place] = yield from part
            except Exception as error:
                outcomes[place] = error
            missing -= 1
            if not missing:
                self.finish(token, outcomes)

        if not outcomes:
            self.finish(token, outcomes)
        for place, part in enumerate(effect.parts):
            self.start(one(place, part))
