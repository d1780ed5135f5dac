"""Walks through the sandbox with Stripe's own library for Python. The address is the first argument.

Every step asserts; the number of steps is printed at the end.
"""

import json
import sys
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / ".tools" / "python"))

import stripe  # noqa: E402

BASE = sys.argv[1]
client = stripe.StripeClient("sk_test_python", base_addresses={"api": BASE}, max_network_retries=0)
steps = 0


def step(walk):
    global steps
    walk()
    steps += 1


def control(method, path, order=None):
    body = None if order is None else json.dumps(order).encode()
    request = urllib.request.Request(f"{BASE}/_sandbox/{path}", body, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read() or b"null")


def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


@step
def a_session_is_made_paid_and_read():
    global session
    session = client.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "customer_email": "kari@example.com",
            "line_items": [
                {"price_data": {"currency": "nok", "unit_amount": 150000, "product_data": {"name": "Søt & 10"}}, "quantity": 1}
            ],
            "metadata": {"passId": "pass-10", "odd key": "a=b&c"},
            "success_url": "https://example.com/done?id={CHECKOUT_SESSION_ID}",
        }
    )
    control("POST", f"sessions/{session.id}/pay", {})
    got = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["line_items", "payment_intent.latest_charge"]})
    assert (got.status, got.payment_status) == ("complete", "paid"), got
    assert got.line_items.data[0].description == "Søt & 10"
    assert got.metadata["odd key"] == "a=b&c"
    assert got.payment_intent.latest_charge.amount == 150000


@step
def auto_paging_sees_every_session_once():
    control("POST", "purchases", {"count": 120, "webhooks": "drop"})
    seen = {one.id for one in client.v1.checkout.sessions.list({"limit": 50, "status": "complete"}).auto_paging_iter()}
    assert len(seen) == 121, len(seen)
    query = {"types": ["checkout.session.completed"], "delivery_success": False, "limit": 100}
    assert len({event.id for event in client.v1.events.list(query).auto_paging_iter()}) == 120


@step
def a_refund_shows_at_the_charge():
    intent = client.v1.checkout.sessions.retrieve(session.id).payment_intent
    client.v1.refunds.create({"payment_intent": intent})
    charge = client.v1.charges.list({"payment_intent": intent}).data[0]
    assert charge.refunded and charge.amount_refunded == 150000


@step
def endpoints_and_accounts():
    made = client.v1.webhook_endpoints.create({"url": "https://example.com/hook", "enabled_events": ["*"]})
    assert made.secret.startswith("whsec_")
    client.v1.webhook_endpoints.update(made.id, {"disabled": True})
    assert client.v1.webhook_endpoints.list().data[0].status == "disabled"
    account = client.v1.accounts.create({"type": "standard"})
    options = {"stripe_account": account.id}
    client.v1.customers.create({"email": "elev@example.com"}, options)
    assert len(client.v1.customers.list({}, options).data) == 1


@step
def errors_are_of_the_classes_that_the_library_has_for_them():
    error = raises(stripe.InvalidRequestError, lambda: client.v1.checkout.sessions.retrieve("cs_none"))
    assert (error.code, error.http_status, error.param) == ("resource_missing", 404, "session"), error
    assert error.request_id.startswith("req_")
    other = {"base_addresses": {"api": BASE}, "max_network_retries": 0}
    raises(stripe.AuthenticationError, lambda: stripe.StripeClient("rubbish", **other).v1.customers.list())
    raises(stripe.PermissionError, lambda: stripe.StripeClient("rk_test_r", **other).v1.customers.create({}))
    control("PUT", "faults", {"api": {"rate_limited": 100}})
    raises(stripe.RateLimitError, lambda: client.v1.customers.list())
    control("PUT", "faults", {"api": {"error": 100}})
    raises(stripe.APIError, lambda: client.v1.customers.list())
    control("PUT", "faults", {"api": {"truncate": 100}})
    raises(stripe.APIConnectionError, lambda: client.v1.customers.list())
    control("DELETE", "faults")


print(f"{steps} steps")
