"""Signs every case of cases.json with Stripe's library for Python and asks the same library for its verdict.

Prints one JSON line for each, in the form that tests/library/signature_peers.rs reads.
"""

import json
import re
import sys
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / ".tools" / "python"))

import stripe  # noqa: E402

NOW = 1_730_000_000
SECRET = "whsec_test_secret"
CODES = {
    "No Stripe-Signature header value was provided": "missing_signature",
    "Unable to extract timestamp and signatures": "malformed_signature",
    "No signatures found with expected scheme": "malformed_signature",
    "No signatures found matching the expected signature": "invalid_signature",
    "Timestamp outside the tolerance zone": "stale_timestamp",
    "No webhook secret value was provided": "empty_secret",
}


def expand(part):
    return part if isinstance(part, str) else part["repeat"][0] * part["repeat"][1]


def to_bytes(body):
    if isinstance(body, dict) and "hex" in body:
        return bytes.fromhex(body["hex"])
    return expand(body).encode()


def verdict(body, header, secret, tolerance, now_ms):
    try:
        with mock.patch("stripe._webhook.time.time", return_value=now_ms / 1000):
            stripe.Webhook.construct_event(body, header, secret, tolerance)
        return "genuine"
    except stripe.SignatureVerificationError as error:
        return next(code for message, code in CODES.items() if str(error).startswith(message))
    except UnicodeDecodeError:
        return "error"
    except ValueError:
        return "genuine"  # verified, and then not JSON, or a thin event
    except Exception:
        return "error"


def sign(case, order):
    timestamp, secret = order.get("timestamp", NOW), order.get("secret", SECRET)
    scheme, body = order.get("scheme", "v1"), to_bytes(order.get("body", case["body"]))
    header = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, timestamp)
    header = header.replace(",v1=", f",{scheme}=")
    return {"timestamp": timestamp, "secret": secret, "scheme": scheme, "body": body.hex(), "header": header}


def fill(parts, made):
    def signature(match):
        return made[int(match[1])]["header"].split("=")[-1]

    text = "".join(expand(part) for part in parts)
    text = re.sub(r"\$(\d)\.v1-", lambda match: signature(match)[:-1], text)
    text = re.sub(r"\$(\d)\.v1", signature, text)
    text = re.sub(r"\$(\d)\.V1", lambda match: signature(match).upper(), text)
    return re.sub(r"\$(\d)", lambda match: made[int(match[1])]["header"], text)


for case in json.loads((HERE / "cases.json").read_text("utf-8")):
    body, secrets = to_bytes(case["body"]), case.get("secrets", [SECRET])
    tolerance, now_ms = case.get("tolerance", 300), case.get("now_ms", NOW * 1000)
    made = [sign(case, order) for order in case["signed"]]
    header = None if case["header"] is None else fill(case["header"], made)

    for secret in secrets:
        answer = verdict(body, header, secret, tolerance, now_ms)
        if answer == "genuine":
            break
    line = {
        "name": case["name"],
        "header": None if header is None else header.encode("latin-1").hex(),
        "body": body.hex(),
        "now_ms": now_ms,
        "tolerance": tolerance,
        "secrets": secrets,
        "signed": made,
        "verdict": answer,
    }
    print(json.dumps(line))
