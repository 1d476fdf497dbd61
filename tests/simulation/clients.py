"""What clients ask for: commands at random, on what they know is there, often on the same things at once."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from random import Random

from google.protobuf.message import Message
from kept.case.v1 import events_pb2 as case_events
from kept.case.v1 import service_pb2 as case
from kept.common.v1.record_pb2 import Receipt
from kept.customer.v1 import events_pb2 as customer_events
from kept.customer.v1 import service_pb2 as customer
from kept.partner_network.v1 import events_pb2 as partner_events
from kept.partner_network.v1 import service_pb2 as partner_network
from kept.sla.v1 import service_pb2 as sla

from services.kernel.clock import timestamp
from tests.scene import edited, open_case
from tests.simulation.prelude import Prelude, installation, policy, registration

Idea = Callable[[], Message | None]


class Clerk:
    """Thinks of requests. Whatever it learns from receipts, all clients know."""

    def __init__(self, random: Random, prelude: Prelude, now: Callable[[], datetime]) -> None:
        self._random = random
        self._now = now
        self._newest = random.choice((0.5, 0.75, 1))
        self._partners = list(prelude.partners)
        self._customers = list(prelude.customers)
        self._items = list(prelude.items)
        self._cases: list[str] = []
        self._problems: list[str] = []
        self._orders: list[str] = []
        self._ideas: Sequence[tuple[int, Idea]] = (
            (8, self._open_case), (36, self._work_on_case), (3, self._register), (3, self._install), (2, self._remove),
            (3, self._consent), (2, self._open_problem), (3, self._work_on_problem), (4, self._offer),
            (8, self._work_on_order), (1, self._publish),
        )  # fmt: skip

    def request(self, request_id: str) -> Message:
        """The next one; sometimes of what was so a while ago."""
        weights, ideas = [weight for weight, _ in self._ideas], [idea for _, idea in self._ideas]
        while True:
            (idea,) = self._random.choices(ideas, weights)
            found = idea()
            if found is not None:
                break
        changes: dict[str, object] = {"request_id": request_id}
        if self._random.random() < 0.2:
            changes["occurred_at"] = timestamp(self._now() - timedelta(minutes=self._random.randint(0, 150)))
        return edited(found, changes)

    def learns(self, request: Message, receipt: Receipt) -> None:
        known = {
            customer.RegisterCustomerRequest: self._customers,
            customer.InstallItemRequest: self._items,
            case.OpenRequest: self._cases,
            case.OpenProblemRequest: self._problems,
            partner_network.OfferWorkOrderRequest: self._orders,
        }.get(type(request))
        if known is not None:
            known.append(receipt.id)

    def _one_of(self, ids: Sequence[str]) -> str:
        """Mostly the newest, so that clients meet."""
        return ids[-1] if self._random.random() < self._newest else self._random.choice(ids)

    def _soon(self, minutes: float) -> datetime:
        return self._now() + timedelta(minutes=minutes)

    # Ideas; None where there is nothing to do it to

    def _open_case(self) -> Message:
        customer_id = self._one_of(self._customers)
        return edited(open_case(customer_id), {"external_reference": ""})

    def _work_on_case(self) -> Message | None:
        if not self._cases:
            return None
        waiting = [case_events.WAITING_FOR_CUSTOMER, case_events.WAITING_FOR_PARTNER, case_events.WAITING_FOR_PARTS]
        work: Sequence[Message] = (
            case.AcknowledgeRequest(),
            case.AssignRequest(team=self._random.choice(("north", "south"))),
            case.HoldRequest(waiting_for=self._random.choice(waiting), reason="waits"),
            case.ResumeRequest(reason="goes on"),
            case.ResolveRequest(reason="done"),
            case.ReopenRequest(reason="again"),
            case.CloseRequest(reason="quiet since"),
            case.CancelRequest(reason="not wanted"),
            case.PrioritizeRequest(priority=case_events.PRIORITY_CRITICAL, reason="looked again"),
            case.AddNoteRequest(audience=case_events.NOTE_AUDIENCE_INTERNAL, text="called back"),
        )
        return edited(self._random.choice(work), {"case_id": self._one_of(self._cases)})

    def _register(self) -> Message:
        return registration(self._random.randint(3, 1000))

    def _install(self) -> Message:
        return installation(self._one_of(self._customers))

    def _remove(self) -> Message:
        return customer.RemoveItemRequest(item_id=self._one_of(self._items), reason="sold")

    def _consent(self) -> Message:
        wanted = self._random.choice((customer.GiveConsentRequest, customer.WithdrawConsentRequest))
        purpose = self._random.choice(
            (customer_events.CONSENT_PURPOSE_SERVICE, customer_events.CONSENT_PURPOSE_MARKETING)
        )
        return wanted(customer_id=self._one_of(self._customers), purpose=purpose)

    def _open_problem(self) -> Message:
        scope = case_events.Scope(product="router", regions=["330100"])
        if self._random.random() < 0.5:
            scope.began_at.CopyFrom(timestamp(self._soon(-200)))
        return case.OpenProblemRequest(title="no light", scope=scope, priority=case_events.PRIORITY_HIGH)

    def _work_on_problem(self) -> Message | None:
        if not self._problems:
            return None
        problem_id = self._one_of(self._problems)
        scope = case_events.Scope(product="router", regions=["330106"], began_at=timestamp(self._soon(-300)))
        return self._random.choice(
            (
                case.FindRootCauseRequest(problem_id=problem_id, cause="a cut fibre", scope=scope),
                case.ResolveProblemRequest(problem_id=problem_id, remedy="spliced"),
                case.CloseProblemRequest(problem_id=problem_id, reason="quiet since"),
            )
        )

    def _offer(self) -> Message | None:
        if not self._cases:
            return None
        return partner_network.OfferWorkOrderRequest(
            case_id=self._one_of(self._cases),
            product="router",
            skill="fibre",
            region="330106",
            partner_ids=self._random.sample(self._partners, self._random.randint(1, 2)),
            window=self._window(),
            expires_at=timestamp(self._soon(self._random.randint(10, 90))),
        )

    def _work_on_order(self) -> Message | None:
        if not self._orders:
            return None
        order_id, partner_id = self._one_of(self._orders), self._random.choice(self._partners)
        return self._random.choice(
            (
                partner_network.AcceptWorkOrderRequest(
                    work_order_id=order_id, partner_id=partner_id, technician="Wei Zhang"
                ),
                partner_network.DeclineWorkOrderRequest(work_order_id=order_id, partner_id=partner_id, reason="busy"),
                partner_network.ReofferWorkOrderRequest(
                    work_order_id=order_id,
                    partner_ids=[partner_id],
                    window=self._window(),
                    expires_at=timestamp(self._soon(self._random.randint(10, 90))),
                ),
                partner_network.ReportArrivalRequest(work_order_id=order_id),
                partner_network.CompleteWorkOrderRequest(work_order_id=order_id, outcome="works again"),
                partner_network.CancelWorkOrderRequest(work_order_id=order_id, reason="not needed"),
            )
        )

    def _publish(self) -> Message:
        definition = policy(self._random.choice((30, 90)), self._random.choice((120, 240)))
        return sla.PublishPolicyRequest(name="standard", definition=definition)

    def _window(self) -> partner_events.VisitWindow:
        return partner_events.VisitWindow(**{"from": timestamp(self._soon(240)), "until": timestamp(self._soon(480))})
