"""One run: clients, API processes, workers and a relay on one cell, what goes wrong with them, and how it ends."""

from datetime import timedelta
from functools import partial

from google.protobuf.message import Message

from services.kernel.clock import Clock
from services.kernel.database import Database
from services.kernel.follower import TRANSIENT, Follower
from services.kernel.house import House
from services.kernel.log.bell import Bell
from services.kernel.log.event_log import EventLog
from tests.simulation.answers import Answers, request_name, shown
from tests.simulation.bugs import Bug
from tests.simulation.clients import Clerk
from tests.simulation.copying import CopySource, Relay, Stream
from tests.simulation.house import SimulatedClock, SimulatedHouse
from tests.simulation.ledger import Ledger
from tests.simulation.network import Network
from tests.simulation.operator import NAME as OPERATOR
from tests.simulation.operator import Operator
from tests.simulation.outside import Outside
from tests.simulation.prelude import START, Prelude
from tests.simulation.processes import Api, Surroundings, Worker, some
from tests.simulation.scheduler import Process, Scheduler, StuckError
from tests.simulation.store import Faults, SimulatedDatabase
from tests.simulation.trouble import Trouble

# Of a thousand chances each; a seed has some of these faults, and each as often as it draws.
MOST = Faults(
    crash_before_commit=20, crash_after_commit=30, refused_commit=20, doubtful_commit=20, kill=10, stop=15,
    lost_request=150, lost_reply=150, repeated_request=200, impatience=300, clock_jump=10, time_passes=40,
    refused_delivery=300, crash_at_delivery=200,
)  # fmt: skip
# Over a night and a morning, when whatever waited for the end of quiet hours goes out.
TIMES_TO_SETTLE = (timedelta(hours=26), timedelta(hours=12))


class World:
    def __init__(self, scheduler: Scheduler, prelude: Prelude, bug: Bug) -> None:
        self.scheduler = scheduler
        self.random = random = scheduler.random
        self.prelude = prelude
        self.bug = bug
        self.clock = SimulatedClock(START)
        self.faults = Faults(
            **{name: random.uniform(0, most) for name, most in vars(MOST).items() if random.random() < 0.6}
        )
        scheduler.switching = random.uniform(0.05, 0.6)
        scheduler.patience = random.uniform(0.3, 0.95)
        self.ledger = Ledger(scheduler)
        self.outside = Outside(scheduler, self.faults)
        self._trouble = Trouble(scheduler)
        self._surroundings = Surroundings(self.ledger, self.outside, self._trouble, bug)
        self.stream = Stream()
        self.stream.confirmed = prelude.position
        self.answers = Answers(self.plain_house())
        self._news = 0
        self._commits = 0
        self._head = prelude.position
        self._copied = random.random() < 0.5
        self._apis = [self._api(0), self._api(1)]
        self._workers = [self._worker(0), self._worker(1)]
        self._relay = self._new_relay()
        self._network = Network(scheduler, self.faults, self._apis, self.answers)
        self._clerk = Clerk(random, prelude, self.clock.now)
        self._operator = Operator(scheduler, self.plain_house(), self._trouble, self._network)
        self._clients = Process("clients")

    def plain_house(self) -> House:
        """A house that nothing befalls, to look into the cell."""
        return SimulatedHouse(lambda namespace: self.prelude.disks.of(namespace).opened(), self.clock)

    # The run

    def run(self) -> None:
        going = self.random.randint(2, 3)
        ended: list[int] = []
        for number in range(going):
            self.scheduler.spawn(f"client-{number}", self._clients, partial(self._client, number, ended))
        self.scheduler.spawn("operator", self._clients, self._operator.work)
        while len(ended) < going:
            self._befall()
            self.scheduler.step()
        self._settle()

    def _client(self, number: int, ended: list[int]) -> None:
        principal = f"user:{number}"
        asked: list[Message] = []
        for count in range(self.random.randint(3, 6)):
            if asked and self.random.random() < 0.1:
                request = self.random.choice(asked)  # it has forgotten that it knows
            else:
                request = self._clerk.request(f"{number}-{count}")
                asked.append(request)
            answer = self._network.ask(request, principal)
            self.scheduler.note(f"was told {shown(answer)} of {request_name(request)}")
            if not isinstance(answer, Exception):
                self._clerk.learns(request, answer)
        ended.append(number)

    def _befall(self) -> None:
        """What happens without anybody's doing, and at any time."""
        self.clock.passes(timedelta(milliseconds=self.random.randint(0, 2000)))
        if self._happens(self.faults.kill):
            process = self.random.choice(self._processes())
            if process.alive:
                self.scheduler.note(f"{process} is killed", counts_as="killed")
                self.scheduler.kill(process)
        if self._happens(self.faults.stop):
            process = self.random.choice(self._processes())
            process.stopped_until = self.scheduler.tick + self.random.randint(20, 200)
            self.scheduler.note(f"{process} is stopped until {process.stopped_until}", counts_as="stopped")
        if self._happens(self.faults.time_passes):
            self._sets_clock(timedelta(minutes=self.random.randint(5, 90)))
        if self._happens(self.faults.clock_jump):
            self._sets_clock(timedelta(hours=self.random.choice((-1, 1))))
        self._restart_dead()
        self._look_at_head()

    def _happens(self, of_a_thousand: float) -> bool:
        return self.scheduler.chance(of_a_thousand / 1000)

    def _sets_clock(self, by: timedelta) -> None:
        self.clock.passes(by)
        self._news += 1
        self.scheduler.note(f"the clock goes by {by}", counts_as="clock back" if by < timedelta() else "time passes")

    def _processes(self) -> list[Process]:
        return [*self._apis, *self._workers, self._relay]

    def _restart_dead(self) -> None:
        for place, api in enumerate(self._apis):
            if not api.alive and self.scheduler.chance(0.1):
                self._apis[place] = self._api(place)
        for place, worker in enumerate(self._workers):
            if not worker.alive and self.scheduler.chance(0.1):
                self._workers[place] = self._worker(place)
        if not self._relay.alive and self.scheduler.chance(0.1):
            self._relay = self._new_relay()

    def _look_at_head(self) -> None:
        if self._commits == self.ledger.commits:
            return
        self._commits = self.ledger.commits
        head = self.answers.log.position()
        if head != self._head:
            assert head > self._head, "the log's head moved back"
            self._head = head
            self._news += 1

    # Processes

    def _house(self) -> SimulatedHouse:
        def log(database: Database, bell: Bell, machine: Clock) -> EventLog:
            made = self.bug.log(database, bell, machine)
            made.scheduler = self.scheduler
            return made

        return SimulatedHouse(self._database, self.clock, log)

    def _database(self, namespace: str) -> Database:
        return SimulatedDatabase(self.prelude.disks.of(namespace), self.scheduler, self.faults, self.ledger)

    def _api(self, place: int) -> Api:
        return Api(f"api-{place}", self._house())

    def _worker(self, place: int) -> Worker:
        """The first holds all followers; the other some of them as well, since no lease is perfect."""
        house = self._house()
        house.require()
        if self._copied:
            house.origin = CopySource(self.stream, house.log, self.random)
        held = self._surroundings.followers(house)
        worker = Worker(f"worker-{place}", some(held, self.random, 4) if place else held)
        worker.start(self.scheduler, lambda: self._news)
        return worker

    def _new_relay(self) -> Process:
        process = Process("relay")
        house = self._house()
        relay = Relay(house.log, self.stream, self.scheduler, first=self.prelude.position)

        def run() -> None:
            while True:
                if relay.step():
                    self._news += 1
                else:
                    until_more(self._head)

        def until_more(head: int) -> None:
            self.scheduler.wait(lambda: self._head != head)

        if self._copied:
            self.scheduler.spawn("relay", process, run, patient=True)
        return process

    # The end

    def _settle(self) -> None:
        """Everything is killed once more and started again, nothing goes wrong any longer, and time passes."""
        for process in [*self._processes(), self._clients]:
            self.scheduler.kill(process)
        self.faults.end()
        house = self._house()
        held = self._surroundings.followers(house)
        self._drain(held)
        self._release_parked()
        self._drain(held)
        for time in TIMES_TO_SETTLE:
            self.clock.passes(time)
            self._drain(held)

    def _release_parked(self) -> None:
        self._trouble.repaired = True
        api = Api("api", self._house())
        for key in self._operator.parked_keys():
            answer = api.serve(self._operator.release(*key), OPERATOR)
            assert not isinstance(answer, Exception), f"a key cannot be released: {answer}"

    def _drain(self, held: list[Follower]) -> None:
        """Until each has had nothing to do since the log's head moved last."""
        log = self.answers.log
        idle_at: dict[str, int] = {}
        for _ in range(1000):
            busy = [follower for follower in held if idle_at.get(follower.name) != log.position()]
            if not busy:
                return
            for follower in busy:
                head = log.position()
                if not self._steps(follower):
                    idle_at[follower.name] = head
        raise StuckError("followers do not come to rest")

    def _steps(self, follower: Follower) -> bool:
        try:
            return follower.step()
        except TRANSIENT:
            return True
