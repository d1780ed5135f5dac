// Signs every case of cases.json with Stripe's library for Node and asks the same library for its verdict.
// Prints one JSON line for each, in the form that tests/library/signature_peers.rs reads.
import {readFileSync} from 'node:fs';
import {createRequire} from 'node:module';

const require = createRequire(new URL('../../.tools/node/', import.meta.url));
const Stripe = require('stripe');
const cases = JSON.parse(readFileSync(new URL('cases.json', import.meta.url), 'utf8'));

const NOW = 1_730_000_000;
const SECRET = 'whsec_test_secret';
const CODES = [
  ['No stripe-signature header value was provided', 'missing_signature'],
  ['Unable to extract timestamp and signatures', 'malformed_signature'],
  ['No signatures found with expected scheme', 'malformed_signature'],
  ['No signatures found matching the expected signature', 'invalid_signature'],
  ['Timestamp outside the tolerance zone', 'stale_timestamp'],
  ['No webhook secret value was provided', 'empty_secret'],
];

const expand = (part) => (typeof part === 'string' ? part : part.repeat[0].repeat(part.repeat[1]));
const bytes = (body) => (body.hex === undefined ? Buffer.from(expand(body)) : Buffer.from(body.hex, 'hex'));

function verdict(body, header, secret, tolerance, nowMs) {
  try {
    Stripe.webhooks.constructEvent(body, header, secret, tolerance, undefined, nowMs);
    return 'genuine';
  } catch (error) {
    const code = CODES.find(([message]) => error.message.startsWith(message))?.[1];
    if (code) return code;
    const verified = error instanceof SyntaxError || error.message.startsWith('You passed a thin event');
    return verified ? 'genuine' : 'error';
  }
}

for (const {name, body, signed, header, secrets = [SECRET], tolerance = 300, now_ms = NOW * 1000} of cases) {
  const raw = bytes(body);
  const made = signed.map(({timestamp = NOW, secret = SECRET, scheme = 'v1', body: other = body}) => {
    const payload = bytes(other).toString();
    const header = Stripe.webhooks.generateTestHeaderString({timestamp, payload, secret, scheme});
    return {timestamp, secret, scheme, body: bytes(other).toString('hex'), header};
  });
  const signature = (index) => made[index].header.split('=').at(-1);
  const value = header
    ?.map(expand)
    .join('')
    .replace(/\$(\d)\.v1-/g, (_, index) => signature(index).slice(0, -1))
    .replace(/\$(\d)\.v1/g, (_, index) => signature(index))
    .replace(/\$(\d)\.V1/g, (_, index) => signature(index).toUpperCase())
    .replace(/\$(\d)/g, (_, index) => made[index].header);

  let answer;
  for (const secret of secrets) {
    answer = verdict(raw, value, secret, tolerance, now_ms);
    if (answer === 'genuine') break;
  }
  console.log(
    JSON.stringify({
      name,
      header: value === undefined ? null : Buffer.from(value, 'latin1').toString('hex'),
      body: raw.toString('hex'),
      now_ms,
      tolerance,
      secrets,
      signed: made,
      verdict: answer,
    }),
  );
}
