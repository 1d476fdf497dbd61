"""The relay's process under nameko."""

from services.kernel.copy.relay import Relay
from services.kernel.errors import Misconfigured
from services.kernel.follow import follow, one_batch
from services.kernel.follower import Follower
from services.kernel.house import House


def relay(house: House) -> Relay:
    """Raises Misconfigured."""
    if not house.settings.broker:
        raise Misconfigured("KEPT_BROKER is not set: without a broker there is nothing to relay to")
    return Relay(house.log, house.settings.broker)


class RelayWorker:
    name = "relay"
    house: House

    @follow(relay)
    def publish(self, follower: Follower) -> bool:
        return one_batch(follower)
