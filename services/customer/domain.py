"""Parties, the customers that they are, and what those own. Source: protos/kept/customer/v1/events.proto."""

from uuid import UUID

from google.protobuf.message import Message
from kept.customer.v1 import events_pb2 as e

from services.kernel.aggregate import Aggregate
from services.kernel.errors import Refused

# Which stage may follow which; the first row is where a customer may begin.
NEXT_STAGES: dict[e.CustomerStage.ValueType, tuple[e.CustomerStage.ValueType, ...]] = {
    e.CUSTOMER_STAGE_UNSPECIFIED: (e.CUSTOMER_STAGE_PROSPECT, e.CUSTOMER_STAGE_ACTIVE),
    e.CUSTOMER_STAGE_PROSPECT: (e.CUSTOMER_STAGE_ACTIVE, e.CUSTOMER_STAGE_CHURNED),
    e.CUSTOMER_STAGE_ACTIVE: (e.CUSTOMER_STAGE_DORMANT, e.CUSTOMER_STAGE_CHURNED),
    e.CUSTOMER_STAGE_DORMANT: (e.CUSTOMER_STAGE_ACTIVE, e.CUSTOMER_STAGE_CHURNED),
    e.CUSTOMER_STAGE_CHURNED: (e.CUSTOMER_STAGE_WON_BACK,),
    e.CUSTOMER_STAGE_WON_BACK: (e.CUSTOMER_STAGE_ACTIVE, e.CUSTOMER_STAGE_DORMANT, e.CUSTOMER_STAGE_CHURNED),
}


class Party(Aggregate):
    """A person or a company, whatever roles it has. Its events concern every customer that it is, so they name none."""

    noun = "party"
    born_by = (e.PartyRegistered,)

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.preferences = e.Preferences()

    def register(self, registered: e.PartyRegistered) -> None:
        self.record(registered)

    def change_contact(self, contact: e.Contact) -> None:
        """Always recorded: sealed data is not compared (I5)."""
        self.record(e.ContactChanged(contact=contact))

    def change_preferences(self, preferences: e.Preferences) -> None:
        if preferences != self.preferences:
            self.record(e.PreferencesChanged(preferences=preferences))

    def evolve(self, event: Message) -> None:
        match event:
            case e.PartyRegistered() | e.PreferencesChanged():
                self.preferences = event.preferences


class Customer(Aggregate):
    """A party in its relationship with the tenant: its stage, and what it agreed to."""

    noun = "customer"
    born_by = (e.CustomerRegistered,)

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.stage: e.CustomerStage.ValueType = e.CUSTOMER_STAGE_UNSPECIFIED
        self.agreed: dict[e.ConsentPurpose.ValueType, bool] = {}

    def register(self, *, party_id: UUID, stage: e.CustomerStage.ValueType) -> None:
        """Raises stage-not-reachable unless it is one to begin with."""
        self._require_reachable(stage)
        self.record(e.CustomerRegistered(party_id=str(party_id), stage=stage))

    def enter_stage(self, stage: e.CustomerStage.ValueType, *, reason: str) -> None:
        """Raises stage-not-reachable."""
        if self.stage == stage:
            return
        self._require_reachable(stage)
        self.record(e.CustomerStageEntered(stage=stage, reason=reason))

    def give_consent(self, purpose: e.ConsentPurpose.ValueType) -> None:
        if self.agreed.get(purpose) is not True:
            self.record(e.ConsentGiven(purpose=purpose))

    def withdraw_consent(self, purpose: e.ConsentPurpose.ValueType) -> None:
        """A no that was never preceded by a yes is recorded too: it was said, and may have to be shown."""
        if self.agreed.get(purpose) is not False:
            self.record(e.ConsentWithdrawn(purpose=purpose))

    def evolve(self, event: Message) -> None:
        match event:
            case e.CustomerRegistered():
                self.customer_id = str(self.id)
                self.stage = event.stage
            case e.CustomerStageEntered():
                self.stage = event.stage
            case e.ConsentGiven():
                self.agreed[event.purpose] = True
            case e.ConsentWithdrawn():
                self.agreed[event.purpose] = False

    def _require_reachable(self, stage: e.CustomerStage.ValueType) -> None:
        if stage not in NEXT_STAGES[self.stage]:
            now, wanted = _short(self.stage), _short(stage)
            message = f"from {now} nobody becomes {wanted}" if self.version else f"nobody begins as {wanted}"
            raise Refused("stage-not-reachable", message, customer=self.id, stage=now, wanted=wanted)


class Item(Aggregate):
    """One thing of the installed base, from its installation until the customer no longer has it."""

    noun = "item"
    born_by = (e.ItemInstalled,)

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.product_stage: e.ProductStage.ValueType = e.PRODUCT_STAGE_UNSPECIFIED
        self.removed = False

    def install(self, installed: e.ItemInstalled) -> None:
        self.record(installed)

    def enter_stage(self, stage: e.ProductStage.ValueType) -> None:
        """Raises item-removed."""
        self._require_present()
        if self.product_stage != stage:
            self.record(e.ItemStageEntered(product_stage=stage))

    def remove(self, *, reason: str) -> None:
        """Raises item-removed."""
        self._require_present()
        self.record(e.ItemRemoved(reason=reason))

    def evolve(self, event: Message) -> None:
        match event:
            case e.ItemInstalled():
                self.customer_id, self.product_stage = event.customer_id, event.product_stage
            case e.ItemStageEntered():
                self.product_stage = event.product_stage
            case e.ItemRemoved():
                self.removed = True

    def _require_present(self) -> None:
        if self.removed:
            raise Refused("item-removed", "the customer no longer has this item", item=self.id)


class Deal(Aggregate):
    """A bid, an order or a renewal that went elsewhere."""

    noun = "deal"
    born_by = (e.DealLost,)

    def lose(self, lost: e.DealLost) -> None:
        self.record(lost)

    def evolve(self, event: Message) -> None:
        if isinstance(event, e.DealLost):
            self.customer_id = event.customer_id


def _short(stage: e.CustomerStage.ValueType) -> str:
    return e.CustomerStage.Name(stage).removeprefix("CUSTOMER_STAGE_").lower().replace("_", " ")
