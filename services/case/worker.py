"""The case service's followers: its policy, and its views."""

from services.case.policies import ImpactPolicy
from services.case.views import VIEWS
from services.kernel.follow import follow, one_batch
from services.kernel.follower import Follower
from services.kernel.house import House
from services.kernel.policy import PolicyFollower
from services.kernel.views import ViewFollower


def policy(house: House) -> PolicyFollower:
    return PolicyFollower(ImpactPolicy(), house.log, house.clock)


def views(house: House) -> Follower:
    return ViewFollower.of(VIEWS, house)


class CaseWorker:
    name = "case"
    house: House

    @follow(policy)
    def decide(self, follower: Follower) -> bool:
        return one_batch(follower)

    @follow(views)
    def keep_views(self, follower: Follower) -> bool:
        return one_batch(follower)
