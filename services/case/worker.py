"""The case service's followers."""

from services.case.views import VIEWS
from services.kernel.follow import follow, one_batch
from services.kernel.follower import Follower
from services.kernel.house import House
from services.kernel.views import ViewFollower


def views(house: House) -> Follower:
    return ViewFollower.of(VIEWS, house)


class CaseWorker:
    name = "case"
    house: House

    @follow(views)
    def keep_views(self, follower: Follower) -> bool:
        return one_batch(follower)
