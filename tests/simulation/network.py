"""Between clients and API processes: requests and replies get lost, come late, come twice, and overtake one another."""

from collections.abc import Sequence

from google.protobuf.message import Message
from kept.common.v1.record_pb2 import Receipt

from services.kernel.errors import KeptError
from tests.simulation.answers import AGAIN, Answers, request_name, shown
from tests.simulation.processes import Api
from tests.simulation.scheduler import Scheduler
from tests.simulation.store import Faults


class Reply:
    """What a client waits for."""

    def __init__(self) -> None:
        self.answer: Receipt | KeptError | None = None
        self.senders: list[Api] = []

    def is_lost(self) -> bool:
        """The connection is gone, and with it whatever it would have brought."""
        return bool(self.senders) and not any(api.alive for api in self.senders)


class Network:
    """`answers` is told of every answer that an API process gives, whether it arrives or not."""

    def __init__(
        self,
        scheduler: Scheduler,
        faults: Faults,
        apis: Sequence[Api],
        answers: Answers,
    ) -> None:
        self._scheduler = scheduler
        self._faults = faults
        self._apis = apis
        self._answers = answers

    def ask(self, request: Message, principal: str) -> Receipt | KeptError:
        """Sends it until there is an answer that decides."""
        while True:
            answer = self._send(request, principal)
            if answer is not None and not isinstance(answer, AGAIN):
                return answer
            self._scheduler.note(f"sends {request_name(request)} again")

    def _send(self, request: Message, principal: str) -> Receipt | KeptError | None:
        """The answer; None when none came in time."""
        scheduler, faults = self._scheduler, self._faults
        reply = Reply()
        if not self._happens(faults.lost_request):
            self._deliver(request, principal, reply)
        if self._happens(faults.repeated_request):
            self._deliver(request, principal, reply)
        patience = scheduler.random.randint(1, 20 if self._happens(faults.impatience) else 300)
        deadline = scheduler.tick + patience
        scheduler.wait(lambda: reply.answer is not None or reply.is_lost() or scheduler.tick >= deadline)
        return reply.answer

    def _deliver(self, request: Message, principal: str, reply: Reply) -> None:
        api = self._scheduler.random.choice(self._apis)
        reply.senders.append(api)
        if not api.alive:
            return

        def serve() -> None:
            recorded = self._answers.is_recorded(request, principal)
            answer = api.serve(request, principal)
            self._scheduler.note(f"answers {shown(answer)}")
            self._answers.given(request, principal, answer, recorded=recorded)
            if not self._happens(self._faults.lost_reply):
                reply.answer = answer

        self._scheduler.spawn(f"{api.name} {request_name(request)}", api, serve)

    def _happens(self, of_a_thousand: float) -> bool:
        return self._scheduler.chance(of_a_thousand / 1000)
