"""CustomerService over gRPC."""

from typing import Any

import grpc
from kept.customer.v1 import service_pb2 as m
from kept.customer.v1.service_pb2_grpc import CustomerServiceServicer

from services.customer import views
from services.customer.application import CustomerApplication
from services.customer.domain import Customer
from services.kernel.application import Command
from services.kernel.errors import Invalid
from services.kernel.events import log_event
from services.kernel.facts import described
from services.kernel.house import House
from services.kernel.paging import MOST
from services.kernel.privacy import opened
from services.kernel.rpc.interceptors import current_caller
from services.kernel.validation import check_uuid
from services.kernel.views import ViewReader

# Timelines open what was said in cases and written in notices. Contact data and sites are shown where they belong.
SPOKEN = ("kept.case.", "kept.notification.")


class CustomerServicer(CustomerServiceServicer):
    def __init__(self, house: House) -> None:
        self._application = CustomerApplication(house)
        self._reader = ViewReader.of(views.VIEWS, house)
        self._sealer = house.sealer
        self._log = house.log

    def RegisterParty(self, request: m.RegisterPartyRequest, context: grpc.ServicerContext) -> m.RegisterPartyResponse:
        receipt = self._application.register_party(self._command(request), request.party)
        return m.RegisterPartyResponse(receipt=receipt)

    def RegisterCustomer(
        self, request: m.RegisterCustomerRequest, context: grpc.ServicerContext
    ) -> m.RegisterCustomerResponse:
        receipt = self._application.register_customer(self._command(request), request)
        return m.RegisterCustomerResponse(receipt=receipt)

    def ChangeContact(self, request: m.ChangeContactRequest, context: grpc.ServicerContext) -> m.ChangeContactResponse:
        receipt = self._application.change_contact(self._command(request), request.party_id, request.contact)
        return m.ChangeContactResponse(receipt=receipt)

    def ChangePreferences(
        self, request: m.ChangePreferencesRequest, context: grpc.ServicerContext
    ) -> m.ChangePreferencesResponse:
        receipt = self._application.change_preferences(self._command(request), request.party_id, request.preferences)
        return m.ChangePreferencesResponse(receipt=receipt)

    def EnterStage(self, request: m.EnterStageRequest, context: grpc.ServicerContext) -> m.EnterStageResponse:
        receipt = self._application.enter_stage(
            self._command(request), request.customer_id, stage=request.stage, reason=request.reason
        )
        return m.EnterStageResponse(receipt=receipt)

    def GiveConsent(self, request: m.GiveConsentRequest, context: grpc.ServicerContext) -> m.GiveConsentResponse:
        receipt = self._application.give_consent(self._command(request), request.customer_id, request.purpose)
        return m.GiveConsentResponse(receipt=receipt)

    def WithdrawConsent(
        self, request: m.WithdrawConsentRequest, context: grpc.ServicerContext
    ) -> m.WithdrawConsentResponse:
        receipt = self._application.withdraw_consent(self._command(request), request.customer_id, request.purpose)
        return m.WithdrawConsentResponse(receipt=receipt)

    def InstallItem(self, request: m.InstallItemRequest, context: grpc.ServicerContext) -> m.InstallItemResponse:
        return m.InstallItemResponse(receipt=self._application.install_item(self._command(request), request))

    def EnterItemStage(
        self, request: m.EnterItemStageRequest, context: grpc.ServicerContext
    ) -> m.EnterItemStageResponse:
        receipt = self._application.enter_item_stage(self._command(request), request.item_id, request.product_stage)
        return m.EnterItemStageResponse(receipt=receipt)

    def RemoveItem(self, request: m.RemoveItemRequest, context: grpc.ServicerContext) -> m.RemoveItemResponse:
        receipt = self._application.remove_item(self._command(request), request.item_id, reason=request.reason)
        return m.RemoveItemResponse(receipt=receipt)

    def RecordLostDeal(
        self, request: m.RecordLostDealRequest, context: grpc.ServicerContext
    ) -> m.RecordLostDealResponse:
        return m.RecordLostDealResponse(receipt=self._application.record_lost_deal(self._command(request), request))

    def GetCustomer(self, request: m.GetCustomerRequest, context: grpc.ServicerContext) -> m.GetCustomerResponse:
        customer_id = check_uuid("customer_id", request.customer_id)
        with self._reader.read(request.after_position) as session:
            found = views.find(session, current_caller().tenant, customer_id)
            if found is None:
                raise Customer.not_found(customer_id)
            items = views.items(session, customer_id)
            found.customer.lost_deals.extend(views.deals(session, customer_id))
        return self._opened(found, items)

    def ListCustomers(self, request: m.ListCustomersRequest, context: grpc.ServicerContext) -> m.ListCustomersResponse:
        if len(request.customer_ids) > MOST:
            raise Invalid("customer_ids", f"are {len(request.customer_ids)}; {MOST} are allowed")
        for at, customer_id in enumerate(request.customer_ids):
            check_uuid(f"customer_ids[{at}]", customer_id)
        with self._reader.read(request.after_position) as session:
            listed, token = views.page(session, current_caller().tenant, request)
        for one in listed:
            one.customer.name, one.customer.erased = opened(self._sealer, one.name, one.party_id, "contact.name")
        return m.ListCustomersResponse(customers=[one.customer for one in listed], next_page_token=token)

    def GetTimeline(self, request: m.GetTimelineRequest, context: grpc.ServicerContext) -> m.GetTimelineResponse:
        customer_id = check_uuid("customer_id", request.customer_id)
        with self._reader.read(request.after_position) as session:
            party_id = views.party_of(session, current_caller().tenant, customer_id)
            if party_id is None:
                raise Customer.not_found(customer_id)
            positions, token = views.timeline(session, (customer_id, party_id), request)
        recorded = self._log.at(positions)
        items = [
            m.TimelineItem(**described(log_event(recorded[position]), self._sealer, SPOKEN)) for position in positions
        ]
        return m.GetTimelineResponse(items=items, next_page_token=token)

    def _command(self, request: Any) -> Command:
        return self._application.command(current_caller(), request)

    def _opened(self, found: views.Found, items: list[tuple[m.Item, bytes]]) -> m.GetCustomerResponse:
        answer, party_id = found.customer, found.party_id
        contact = answer.contact
        contact.name, answer.erased = opened(self._sealer, found.name, party_id, "contact.name")
        contact.email, _ = opened(self._sealer, found.email, party_id, "contact.email")
        if not answer.erased:  # one key for all of the contact
            for at, phone in enumerate(found.phones):
                contact.phones.append(opened(self._sealer, phone, party_id, f"contact.phones[{at}]")[0])
        for item, site in items:
            item.site, _ = opened(self._sealer, site, check_uuid("item_id", item.item_id), "site")
            answer.items.append(item)
        return answer
