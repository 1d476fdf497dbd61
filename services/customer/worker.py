"""The customer service's followers."""

from services.customer.views import VIEWS
from services.kernel.follow import follow, one_batch
from services.kernel.follower import Follower
from services.kernel.house import House
from services.kernel.views import ViewFollower


def views(house: House) -> Follower:
    return ViewFollower.of(VIEWS, house)


class CustomerWorker:
    name = "customer"
    house: House

    @follow(views)
    def keep_views(self, follower: Follower) -> bool:
        return one_batch(follower)
