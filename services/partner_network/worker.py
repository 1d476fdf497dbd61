"""The partner network's followers: its policy, and its views."""

from services.kernel.follow import follow, one_batch
from services.kernel.follower import Follower
from services.kernel.house import House
from services.kernel.policy import PolicyFollower
from services.kernel.views import ViewFollower
from services.partner_network.policies import OfferPolicy
from services.partner_network.views import VIEWS


def policy(house: House) -> PolicyFollower:
    return PolicyFollower(OfferPolicy(), house.log, house.clock)


def views(house: House) -> Follower:
    return ViewFollower.of(VIEWS, house)


class PartnerNetworkWorker:
    name = "partner_network"
    house: House

    @follow(policy)
    def decide(self, follower: Follower) -> bool:
        return one_batch(follower)

    @follow(views)
    def keep_views(self, follower: Follower) -> bool:
        return one_batch(follower)
